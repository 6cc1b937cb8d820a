/* Weights as other programs store them: safetensors and PyTorch .bin, one file or the shards of an
 * index, mapped into memory and not copied. Nothing in a file is executed and every offset, shape
 * and type is checked before it is used. */
#ifndef LRL_WEIGHTS_H
#define LRL_WEIGHTS_H
#include "kernels/dtype.h"
#include "model/mapped_file.h"
#ifdef __cplusplus
extern "C" {
#endif

enum lrl_weight_dtype {
  LRL_WEIGHT_F64,
  LRL_WEIGHT_F32,
  LRL_WEIGHT_F16,
  LRL_WEIGHT_BF16,
  LRL_WEIGHT_I64,
  LRL_WEIGHT_I32,
  LRL_WEIGHT_I16,
  LRL_WEIGHT_I8,
  LRL_WEIGHT_U8,
  LRL_WEIGHT_BOOL,
};
const char *lrl_weight_dtype_name(enum lrl_weight_dtype t); /* as in safetensors: "BF16" */
bool lrl_weight_dtype_parse(const char *name, size_t n, enum lrl_weight_dtype *out);
int64_t lrl_weight_dtype_bytes(enum lrl_weight_dtype t);

enum { LRL_WEIGHT_DIMS = 8 };
struct lrl_weight {
  char *name; /* of a tensor inside of containers: "model.weight", "[0].ids" */
  enum lrl_weight_dtype dtype;
  int ndim;
  int64_t dim[LRL_WEIGHT_DIMS];
  int64_t stride[LRL_WEIGHT_DIMS]; /* elements; rows one after the other in safetensors */
  int64_t n;                       /* elements */
  int file;                        /* which of the set's files */
  const unsigned char *data;       /* the first element, at any address; NULL when n is 0 */
};

struct lrl_weights {
  int64_t n, cap;
  struct lrl_weight *items; /* in the order of their names */
  int n_files;
  struct lrl_mapped_file *files;
};

/* `path`: a file (safetensors, or a zip file of torch.save), or a folder as Hugging Face lays it
 * out: model.safetensors or pytorch_model.bin or their *.index.json. LRL_ERR_IO; LRL_ERR_FORMAT
 * with what is wrong, for an index with the tensors that are missing or not in it. Close with
 * lrl_weights_close. */
lrl_status lrl_weights_open(const char *path, struct lrl_weights **out);
void lrl_weights_close(struct lrl_weights *w); /* NULL is fine */
/* NULL when absent. */
const struct lrl_weight *lrl_weights_find(const struct lrl_weights *w, const char *name);

/* Elements [first, first + n) in row-major order as `to`: LRL_F32, LRL_BF16 (rounded to nearest) or
 * LRL_F64. */
void lrl_weight_read(const struct lrl_weight *w, int64_t first, int64_t n, lrl_dtype to, void *out);
/* The memory that reading the tensor took may go. */
void lrl_weight_drop(const struct lrl_weights *w, const struct lrl_weight *t);
/* "[3, 4]" */
void lrl_weight_shape(const struct lrl_weight *w, char *out, size_t size);

/* ---- for the readers of single formats ---- */

/* Appends a tensor; takes over `name` (malloc'ed, freed on failure too). */
lrl_status lrl_weights_add(struct lrl_weights *w, struct lrl_weight *t);
/* The product of a shape's dims and the strides of rows one after the other; false when a dim is
 * negative or the product does not fit. */
bool lrl_weight_count(struct lrl_weight *t);

#ifdef __cplusplus
}
#endif
#endif
