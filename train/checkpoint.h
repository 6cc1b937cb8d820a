/* Checkpoints: one HDF5 file that any number of ranks and any ZeRO stage reads back bit for bit. It
 * holds named texts and blobs, and groups of logical tensors under their official names as
 * contiguous datasets, each with the XXH3 of its bytes as the attribute "xxh3_64". bf16 is stored
 * as uint16 with the attribute dtype = "bf16". Texts, blobs and groups share one namespace.
 *
 * A file is written to PATH.tmp and becomes PATH only when all of it is on the disk, so that a kill
 * or a full disk never harms an earlier checkpoint. Behind the HDF5 data stands a seal: the extents
 * of the datasets and a checksum of everything else. It is checked before HDF5 sees a file, which
 * does not bear damaged metadata well; other HDF5 programs ignore it.
 *
 * Calls are collective unless they say otherwise: rank 0 alone touches the file, the others send
 * and receive their shards in pieces of at most 1 MiB. All ranks get the same status.
 * Errors: LRL_ERR_IO (no space, no permission, ...), LRL_ERR_FORMAT (damaged or not a checkpoint),
 * LRL_ERR_SHAPE and LRL_ERR_FORMAT for tensors that do not fit the model. */
#ifndef LRL_CHECKPOINT_H
#define LRL_CHECKPOINT_H
#include "data/tokenizer.h"
#include "train/optimizer.h"

struct lrl_checkpoint;

/* ---- writing: create, put..., commit or discard ---- */

/* comm NULL: one rank. The folder must exist. */
lrl_status lrl_checkpoint_create(const char *path, struct lrl_comm *comm,
                                 struct lrl_checkpoint **out);
/* What rank 0 passes is stored. */
lrl_status lrl_checkpoint_put_text(struct lrl_checkpoint *k, const char *name, const char *text);
lrl_status lrl_checkpoint_put_blob(struct lrl_checkpoint *k, const char *name, const void *bytes,
                                   size_t n);
/* Every tensor of every unit, in the unit's dtype; ctx: the device they are on, NULL: the host. */
lrl_status lrl_checkpoint_put_params(struct lrl_checkpoint *k, struct lrl_ctx *ctx,
                                     const char *group, struct lrl_param_set *set);
/* Of every trainable tensor group/m/NAME, group/v/NAME and, for bf16 weights, group/master/NAME;
 * and the number of updates. */
lrl_status lrl_checkpoint_put_optimizer(struct lrl_checkpoint *k, const char *group,
                                        struct lrl_optimizer *o);
/* The same for a model whose values are not in memory; of one rank. The set needs names, shapes and
 * dtypes only; `read` puts elements [first, first + n) of p, in that dtype, into `out`. */
typedef lrl_status lrl_param_read(void *user, const struct lrl_param *p, lrl_dtype dtype,
                                  int64_t first, int64_t n, void *out);
lrl_status lrl_checkpoint_put_stream(struct lrl_checkpoint *k, const char *group,
                                     const struct lrl_param_set *set, lrl_param_read *read,
                                     void *user);
/* Writes the seal, brings the file to the disk, renames it, and frees k (also on failure, which
 * leaves nothing behind). */
lrl_status lrl_checkpoint_commit(struct lrl_checkpoint *k);
/* Removes what was written and frees k. Not collective; NULL is fine. */
void lrl_checkpoint_discard(struct lrl_checkpoint *k);

/* ---- reading: open, get..., close ---- */

lrl_status lrl_checkpoint_open(const char *path, struct lrl_comm *comm,
                               struct lrl_checkpoint **out);
/* Whether there is a text, blob or group of this name, on all ranks alike. */
lrl_status lrl_checkpoint_has(struct lrl_checkpoint *k, const char *name, bool *has);
/* malloc'ed; the caller frees. Text ends with a 0 byte. LRL_ERR_FORMAT when absent. */
lrl_status lrl_checkpoint_get_text(struct lrl_checkpoint *k, const char *name, char **text);
lrl_status lrl_checkpoint_get_blob(struct lrl_checkpoint *k, const char *name, void **bytes,
                                   size_t *n);
/* The tokenizer whose model file is the blob "tokenizer". Free with lrl_tokenizer_close. Errors as
 * above and as lrl_tokenizer_open_bytes. */
lrl_status lrl_checkpoint_get_tokenizer(struct lrl_checkpoint *k, struct lrl_tokenizer **out);
/* Fills every tensor of the set, converting between f32 and bf16, and raises the units' versions.
 * A tensor that is missing (but for LoRA's, which keep their values), that the model does not have
 * or of another shape is an error that names it. After a failure the set's values are undefined.
 * The f32 masters of an optimizer follow only through get_optimizer: load weights before
 * lrl_optimizer_init. */
lrl_status lrl_checkpoint_get_params(struct lrl_checkpoint *k, const char *group,
                                     struct lrl_param_set *set);
/* The same for a model that begins from another one's weights: heads ("score.weight",
 * "output.weight") that only one of the two has are passed over, so that the model's keeps its
 * values. */
lrl_status lrl_checkpoint_get_weights(struct lrl_checkpoint *k, const char *group,
                                      struct lrl_param_set *set);
lrl_status lrl_checkpoint_get_optimizer(struct lrl_checkpoint *k, const char *group,
                                        struct lrl_optimizer *o);
/* Hands every tensor of the set over in pieces, in the order of its elements and in the dtype it
 * has in the file; of one rank. */
typedef lrl_status lrl_param_write(void *user, const struct lrl_param *p, lrl_dtype dtype,
                                   int64_t first, int64_t n, const void *data);
lrl_status lrl_checkpoint_get_stream(struct lrl_checkpoint *k, const char *group,
                                     struct lrl_param_set *set, lrl_param_write *write, void *user);
/* Not collective; NULL is fine. */
void lrl_checkpoint_close(struct lrl_checkpoint *k);

/* ---- a folder of checkpoints step_<number>.h5; not collective, for rank 0 ---- */

/* The newest whole checkpoint of `dir`: path "" and *step -1 when there is none (or no folder).
 * Removes the *.tmp files of killed runs; a damaged checkpoint is passed over with a warning. */
lrl_status lrl_checkpoint_latest(const char *dir, char *path, size_t size, int64_t *step);
/* Removes all but the newest `keep_last` and the one of `keep_step` (-1: none). */
lrl_status lrl_checkpoint_rotate(const char *dir, int64_t keep_last, int64_t keep_step);
/* The checkpoint that a user's `path` means: the file itself, or of a run's folder (or its folder
 * of checkpoints) the best one if that is kept, else the newest. LRL_ERR_IO when there is none. */
lrl_status lrl_checkpoint_find(const char *path, char *out, size_t size);
#endif
