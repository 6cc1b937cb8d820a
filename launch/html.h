/* Self-contained HTML pages: one file, no scripts, nothing from the network, light and dark,
 * readable on a phone. Text that comes from data goes through lrl_html_text. Errors of writing are
 * those of the stream; who closes it asks (data/whole_file.h). */
#ifndef LRL_HTML_H
#define LRL_HTML_H
#include "kernels/status.h"

#include <stdio.h>

/* Everything up to the page's own content, with the title as its first heading. */
void lrl_html_begin(FILE *f, const char *title);
void lrl_html_end(FILE *f);

/* Escaped for text and for attributes in double quotes. Bytes that are not UTF-8 and characters
 * that HTML does not allow become U+FFFD. */
void lrl_html_text(FILE *f, const char *text);
/* The same, at most `most` bytes of it and what is missing in numbers. */
void lrl_html_cut(FILE *f, const char *text, size_t most);

/* An <img> with the picture of a file, made to fit a square of `side` pixels, as a data URI (JPEG);
 * of a video three frames side by side, each in such a square. A file that cannot be decoded
 * becomes a box that says why. `alt` is escaped. */
void lrl_html_thumbnail(FILE *f, const char *path, int32_t side, const char *alt);

/* Class "s0" .. "s7" colours the n-th of several things the same everywhere on a page. */
enum { LRL_HTML_COLOURS = 8 };
#endif
