/* Libraries of ours that are loaded when they are needed: a program linked with what they are
 * linked with would take long to start. They take what they need from the program. */
#ifndef LRL_PLUGIN_H
#define LRL_PLUGIN_H
#include <stddef.h>
#ifdef __cplusplus
extern "C" {
#endif

/* dlopen of liblaurel_<name>.so in `folder`, or if that is NULL in the program's folder or the one
 * above. NULL: not there (path is ""), or dlerror() says what is wrong with path. */
void *lrl_library_open(const char *folder, const char *name, char *path, size_t size);

#ifdef __cplusplus
}
#endif
#endif
