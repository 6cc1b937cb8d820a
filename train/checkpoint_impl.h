/* Inside of checkpoints. The struct is shared by checkpoint.c (texts, blobs, life),
 * checkpoint_file.c (the file as rank 0 sees it) and checkpoint_params.c and
 * checkpoint_optimizer.c. */
#ifndef LRL_CHECKPOINT_IMPL_H
#define LRL_CHECKPOINT_IMPL_H
#include "train/checkpoint.h"
#include "train/checkpoint_seal.h"
#include "train/comm_impl.h"

#include <hdf5.h>

struct lrl_checkpoint {
  struct lrl_comm *comm;
  char *path;
  /* Rank 0 only. */
  char *temporary; /* what is being written; NULL when reading */
  hid_t file;
  int fd; /* the same file, for the datasets' bytes and the seal */
  struct lrl_extent *extents;
  int64_t n_extents, max_extents;
  char *staging; /* [LRL_COMM_BUCKET], all ranks */
};

/* A dataset whose bytes are written or read in order. */
struct lrl_dataset {
  hid_t id;
  char name[2 * LRL_NAME_MAX];
  uint64_t offset, bytes, at; /* place in the file, size, next byte */
  void *hash;                 /* XXH3_state_t */
  /* Reading: what the file says. */
  enum { LRL_DATA_TEXT, LRL_DATA_U8, LRL_DATA_F32, LRL_DATA_BF16, LRL_DATA_OTHER } type;
  int ndim;
  int64_t dim[4];
  uint64_t checksum;
};

/* All of these run on rank 0. */
lrl_status lrl_file_create(struct lrl_checkpoint *k);
lrl_status lrl_file_open(struct lrl_checkpoint *k);
/* Reserves room for n datasets of `bytes` bytes together. */
lrl_status lrl_file_reserve(struct lrl_checkpoint *k, uint64_t bytes, int64_t n);
lrl_status lrl_file_group(struct lrl_checkpoint *k, const char *name);
lrl_status lrl_file_finish(struct lrl_checkpoint *k); /* seal, fsync, rename */
void lrl_file_close(struct lrl_checkpoint *k);

/* Names are paths from the root. write_begin takes type, ndim and dim from d (text: bytes). */
lrl_status lrl_dataset_create(struct lrl_checkpoint *k, const char *name, struct lrl_dataset *d);
lrl_status lrl_dataset_write(struct lrl_checkpoint *k, struct lrl_dataset *d, const void *data,
                             size_t bytes);
lrl_status lrl_dataset_open(struct lrl_checkpoint *k, const char *name, struct lrl_dataset *d);
lrl_status lrl_dataset_read(struct lrl_checkpoint *k, struct lrl_dataset *d, void *data,
                            size_t bytes);
/* Ends writing (stores the checksum) or reading (compares it). Takes the status so far and returns
 * the first failure; d is closed in any case. */
lrl_status lrl_dataset_end(struct lrl_checkpoint *k, struct lrl_dataset *d, lrl_status so_far);

/* A dataset as parameter p has it. */
struct lrl_dataset lrl_tensor_shape(const struct lrl_param *p, lrl_dtype dtype);
/* The next bytes of a tensor from memory of ctx's device, by way of the staging buffer where the
 * host does not reach it. */
lrl_status lrl_tensor_write(struct lrl_checkpoint *k, struct lrl_ctx *ctx, struct lrl_dataset *d,
                            const void *data, size_t bytes);
/* Opens a tensor and checks that it fits p. */
lrl_status lrl_tensor_open(struct lrl_checkpoint *k, const char *name, const struct lrl_param *p,
                           struct lrl_dataset *d);
/* Refuses a group with a tensor that the model does not have, or does not train. */
enum lrl_tensor_need { LRL_TENSOR_KNOWN, LRL_TENSOR_KNOWN_OR_HEAD, LRL_TENSOR_TRAINED };
lrl_status lrl_tensor_check_names(struct lrl_checkpoint *k, const char *group,
                                  struct lrl_param_set *set, enum lrl_tensor_need need);
#define LRL_PIECE_FLOATS ((int64_t)(LRL_COMM_BUCKET / sizeof(float)))

static inline bool lrl_checkpoint_root(const struct lrl_checkpoint *k) {
  return lrl_comm_rank(k->comm) == 0;
}
#endif
