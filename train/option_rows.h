/* Short forms for the rows of an option table (train/options.h). Include in the .c file of a table
 * only. `at` is offsetof(struct, field). */
#ifndef LRL_OPTION_ROWS_H
#define LRL_OPTION_ROWS_H
#include "train/options.h"

#define LRL_ROW_INT(key, at, def, lo, hi, unit, help)                                              \
  { key, LRL_OPTION_INT, at, def, lo, hi, NULL, unit, help }
#define LRL_ROW_NUM(key, at, def, lo, hi, help)                                                    \
  { key, LRL_OPTION_FLOAT, at, def, lo, hi, NULL, "", help }
#define LRL_ROW_BOOL(key, at, def, help)                                                           \
  { key, LRL_OPTION_BOOL, at, def, 0, 0, NULL, "", help }
#define LRL_ROW_TEXT(key, at, def, help)                                                           \
  { key, LRL_OPTION_STRING, at, def, 0, 0, NULL, "", help }
#define LRL_ROW_ENUM(key, at, def, choices, help)                                                  \
  { key, LRL_OPTION_ENUM, at, def, 0, 0, choices, "", help }
#endif
