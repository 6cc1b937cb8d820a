/* What the writers of the synthetic world's files share (write.c, faults.c). Private to them. */
#ifndef LRL_SYNTH_FILES_H
#define LRL_SYNTH_FILES_H
#include "data/synth/synth.h"

#include <stdio.h>

enum { LRL_SYNTH_PATH = 512 };
/* dir/name for writing; close gives `status`, or LRL_ERR_IO when a write failed. */
lrl_status lrl_synth_file_open(const char *dir, const char *name, char path[LRL_SYNTH_PATH],
                               FILE **out);
lrl_status lrl_synth_file_close(FILE *f, const char *path, lrl_status status);
/* Where picture k of an item is, from the world's folder on; every other one is a PNG. */
void lrl_synth_image_name(char name[128], enum lrl_synth_domain domain, enum lrl_synth_split split,
                          int64_t index, int k, bool *png);
/* [{from: human, value: prompt}, {from: bot, value: reply}] */
json_t *lrl_synth_conversation(const char *prompt, const char *reply);

/* faults.c: sft_<split>.json, see lrl_synth_write. */
lrl_status lrl_synth_write_chats(const char *dir, const struct lrl_synth_options *options,
                                 enum lrl_synth_split split);
#endif
