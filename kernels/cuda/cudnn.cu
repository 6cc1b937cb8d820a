/* Attention and the patch embedding by cuDNN instead of flash.cu and a product, where that was
 * asked for and cuDNN takes the operands. Plans are made by the host when a shape is met first, and
 * kept. One of attention is compiled at run time and takes about a second, so there is one for each
 * pair of powers of two that the number of sequences and the longest of them fit into; sequences
 * that are not there have length 0. */
#include "kernels/cuda/cudnn.cuh"
#include "kernels/cuda/cudnn_pattern.cuh"

#if LRL_WITH_CUDNN
#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <vector>

namespace {
typedef std::array<int64_t, 11> key; /* a use, and its shape */
struct dnn {
  const cudnn_api *api;
  cudnnHandle_t handle;
  std::map<key, std::unique_ptr<cudnn_graph>> plans; /* NULL: cuDNN has none */
};
lrl_status check(const dnn *d, cudnnStatus_t s, const char *what) {
  return s == CUDNN_STATUS_SUCCESS
             ? LRL_OK
             : LRL_FAIL(LRL_ERR_LIB, "cuDNN: %s in %s", d->api->cudnnGetErrorString(s), what);
}
/* The plan of a shape, made if need be; NULL: cuDNN has no engine for it. */
template <class Shape>
cudnn_graph *plan_of(dnn *d, const key &k, void (*draw)(cudnn_graph *, const Shape *),
                     const Shape &shape, bool tensor_cores) {
  auto known = d->plans.find(k);
  if (known == d->plans.end()) {
    std::unique_ptr<cudnn_graph> plan(new cudnn_graph(d->api));
    draw(plan.get(), &shape);
    if (plan->plan(d->handle, tensor_cores) != CUDNN_STATUS_SUCCESS)
      plan.reset();
    known = d->plans.emplace(k, std::move(plan)).first;
  }
  return known->second.get();
}
const char NO_KERNEL[] = "a shape that this cuDNN has no kernel for on this GPU";
int64_t power_of_two(int64_t n) {
  int64_t p = 1;
  while (p < n)
    p *= 2;
  return p;
}

/* lse[h, t] from cuDNN's [sequence, h, place in it]. */
__global__ void __launch_bounds__(256)
    unpack_stats(int64_t n, int64_t n_heads, int64_t longest, const int32_t *start,
                 const int32_t *length, const float *stats, float *lse) {
  const int64_t s = blockIdx.x, h = blockIdx.y;
  for (int64_t i = threadIdx.x; i < length[s]; i += 256)
    lse[h * n + start[s] + i] = stats[(s * n_heads + h) * longest + i];
}

const char *refusal(const attention_args<bf16> &g, const struct lrl_layout *l, const bf16 *o) {
  const int64_t widest = std::max({g.ld_q, g.ld_k, g.ld_v, g.ld_o});
  for (int64_t s = 0; s < l->n_seqs && l->parent != NULL; s++)
    if (l->parent[s] >= 0)
      return "sequences that share a prefix";
  if (g.d % 8 != 0 || g.d > 128)
    return "heads of a size that is no multiple of 8 or above 128";
  if (!aligned16(g.q, g.k, g.v, o) || (g.ld_q | g.ld_k | g.ld_v | g.ld_o) % 8 != 0)
    return "rows that do not start at a multiple of 16 bytes";
  return g.n * widest > INT32_MAX ? "more than 2^31 elements" : NULL;
}
} // namespace

static lrl_status too_old(enum lrl_cudnn_use use, const char *needs, int v) {
  return LRL_FAIL(LRL_ERR_LIB, "%s by cuDNN needs %s, this is %d.%d.%d", lrl_cudnn_name(use), needs,
                  v / 10000, v / 100 % 100, v % 100);
}
lrl_status cuda_cudnn(struct lrl_ctx *ctx, enum lrl_cudnn_use use, int *version) {
  const cudnn_api *api;
  LRL_TRY(cudnn_open(&api));
  *version = (int)api->cudnnGetVersion();
  /* Empty sequences came with 9.6, masks of -infinity with 9.10; 9.10.0 and 9.10.1 are wrong. */
  if (use == LRL_CUDNN_ATTENTION && *version < 91002)
    return too_old(use, "9.10.2 or later", *version);
  if (ctx == NULL)
    return LRL_OK;
  cuda_state *state = static_cast<cuda_state *>(ctx->state);
  int device = 0, major = 0;
  LRL_CUDA(cudaGetDevice(&device));
  LRL_CUDA(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
  if (use == LRL_CUDNN_ATTENTION && major < 9 && *version < 91801)
    return too_old(use, "9.18.1 for packed sequences on this GPU", *version);
  if (state->dnn != NULL)
    return LRL_OK;
  dnn *d = new dnn{api, NULL, {}};
  state->dnn = d;
  LRL_TRY(check(d, api->cudnnCreate(&d->handle), "cudnnCreate"));
  return check(d, api->cudnnSetStream(d->handle, state->stream), "cudnnSetStream");
}
void cuda_cudnn_destroy(cuda_state *s) {
  dnn *d = static_cast<dnn *>(s->dnn);
  if (d == NULL)
    return;
  d->plans.clear();
  if (d->handle != NULL)
    d->api->cudnnDestroy(d->handle);
  delete d;
  s->dnn = NULL;
}

lrl_status cudnn_forward(cuda_op &op, const attention_args<bf16> &g, const struct lrl_layout *l,
                         bf16 *o, float *lse, const char **refused) {
  dnn *d = static_cast<dnn *>(op.state->dnn);
  if ((*refused = refusal(g, l, o)) != NULL)
    return LRL_OK;
  int64_t n_seqs = 0, longest = 1;
  for (int64_t s = 0; s < l->n_seqs; s++) {
    n_seqs += l->length[s] > 0;
    longest = std::max<int64_t>(longest, l->length[s]);
  }
  const int64_t b = power_of_two(n_seqs);
  longest = power_of_two(std::max<int64_t>(longest, 64));
  const struct cudnn_attention_shape shape = {b,      longest, g.n_heads, g.n_kv, g.d,
                                              g.ld_q, g.ld_k,  g.ld_v,    g.ld_o, g.causal};
  cudnn_graph *plan = plan_of(d,
                              {LRL_CUDNN_ATTENTION, b, longest, g.n_heads, g.n_kv, g.d, g.ld_q,
                               g.ld_k, g.ld_v, g.ld_o, g.causal},
                              cudnn_attention_graph, shape, true);
  if (plan == NULL) {
    *refused = NO_KERNEL;
    return LRL_OK;
  }
  /* Offsets of q, k, v and o, lengths and starts. */
  std::vector<int32_t> lists((size_t)(4 * (b + 1) + 2 * b));
  int32_t *offsets = lists.data(), *lengths = offsets + 4 * (b + 1), *starts = lengths + b;
  const int64_t ld[4] = {g.ld_q, g.ld_k, g.ld_v, g.ld_o};
  int64_t i = 0;
  for (int64_t s = 0; s < l->n_seqs; s++)
    if (l->length[s] > 0) {
      starts[i] = l->start[s];
      lengths[i++] = l->length[s];
    }
  for (; i < b; i++) {
    starts[i] = (int32_t)g.n;
    lengths[i] = 0;
  }
  for (int m = 0; m < 4; m++)
    for (int64_t s = 0; s <= b; s++)
      offsets[m * (b + 1) + s] = (int32_t)((s < b ? starts[s] : g.n) * ld[m]);
  offsets = op.upload(lists.data(), (int64_t)lists.size());
  float *stats = op.scratch<float>(b * g.n_heads * longest);
  void *workspace = op.scratch<char>(plan->workspace() + 1);
  if (op.failed())
    return LRL_OK; /* done() says it */
  lengths = offsets + 4 * (b + 1);
  starts = lengths + b;
  float scale = g.scale, fill = -INFINITY;
  void *memory[ATTENTION_IDS];
  int64_t ids[ATTENTION_IDS];
  for (int m = 1; m < ATTENTION_IDS; m++)
    ids[m] = m;
  memory[ATTENTION_Q] = const_cast<bf16 *>(g.q);
  memory[ATTENTION_K] = const_cast<bf16 *>(g.k);
  memory[ATTENTION_V] = const_cast<bf16 *>(g.v);
  memory[ATTENTION_O] = o;
  memory[ATTENTION_STATS] = stats;
  memory[ATTENTION_LENGTHS] = lengths;
  memory[ATTENTION_Q_OFFSETS] = offsets;
  memory[ATTENTION_K_OFFSETS] = offsets + (b + 1);
  memory[ATTENTION_V_OFFSETS] = offsets + 2 * (b + 1);
  memory[ATTENTION_O_OFFSETS] = offsets + 3 * (b + 1);
  memory[ATTENTION_SCALE] = &scale;
  memory[ATTENTION_FILL] = &fill;
  LRL_TRY(cuda_flush(op.state));
  LRL_TRY(check(d, plan->run(d->handle, ATTENTION_IDS - 1, ids + 1, memory + 1, workspace),
                "attention"));
  LRL_LAUNCH(op, unpack_stats, dim3((unsigned)n_seqs, (unsigned)g.n_heads), 256, 0, g.n, g.n_heads,
             longest, starts, lengths, stats, lse);
  return LRL_OK;
}

/* A few images at a time: that bounds the number of plans, and the memory that cuDNN asks for to
 * pad the channels (5.4 MB an image of 560 pixels in bf16). */
enum { IMAGES_AT_ONCE = 8 };

lrl_status cudnn_patch_embed(cuda_op &op, const struct lrl_patch_embed_fwd_args *a,
                             const float *pixels, const void *weight, void *out,
                             const char **refused) {
  dnn *d = static_cast<dnn *>(op.state->dnn);
  const bool f32 = a->dtype == LRL_F32;
  const int64_t side = a->size / a->patch, image = a->channels * a->size * a->size;
  const int64_t tokens = side * side * a->width * lrl_dtype_bytes(a->dtype); /* bytes an image */
  if (a->n * tokens == 0)
    return LRL_OK;
  *refused = !aligned16(pixels, weight, out) || tokens % 16 != 0 || image % 8 != 0
                 ? "rows that do not start at a multiple of 16 bytes"
                 : NULL;
  cudnn_graph *plans[2] = {};
  int64_t workspace = 0;
  for (int i = 0; i < 2 && *refused == NULL; i++) { /* of whole groups, of the rest */
    const int64_t n = i == 0 ? std::min<int64_t>(a->n, IMAGES_AT_ONCE) : a->n % IMAGES_AT_ONCE;
    const cudnnDataType_t type = f32 ? CUDNN_DATA_FLOAT : CUDNN_DATA_BFLOAT16;
    const struct cudnn_patch_shape shape = {n, a->channels, a->size, a->patch, a->width, type};
    if (n == 0 || (i == 1 && a->n < IMAGES_AT_ONCE))
      continue;
    plans[i] =
        plan_of(d, {LRL_CUDNN_PATCH_EMBED, n, a->channels, a->size, a->patch, a->width, type},
                cudnn_patch_graph, shape, !f32);
    if (plans[i] == NULL)
      *refused = NO_KERNEL;
    else
      workspace = std::max(workspace, plans[i]->workspace());
  }
  if (*refused != NULL)
    return LRL_OK;
  void *room = op.scratch<char>(workspace + 1);
  bf16 *rounded = f32 ? NULL : op.scratch<bf16>(std::min<int64_t>(a->n, IMAGES_AT_ONCE) * image);
  for (int64_t at = 0; at < a->n && !op.failed(); at += IMAGES_AT_ONCE) {
    const int64_t n = std::min<int64_t>(a->n - at, IMAGES_AT_ONCE);
    const float *from = pixels + at * image;
    const struct lrl_cast_args cast = {n * image, LRL_F32, LRL_BF16, from, rounded};
    if (!f32)
      LRL_TRY(cuda_cast(op.ctx, &cast));
    const int64_t ids[] = {PATCH_PIXELS, PATCH_WEIGHT, PATCH_OUT};
    void *const memory[] = {f32 ? const_cast<float *>(from) : static_cast<void *>(rounded),
                            const_cast<void *>(weight), static_cast<char *>(out) + at * tokens};
    cudnn_graph *plan = plans[n < IMAGES_AT_ONCE && a->n > IMAGES_AT_ONCE];
    LRL_TRY(cuda_flush(op.state));
    LRL_TRY(check(d, plan->run(d->handle, PATCH_IDS - 1, ids, memory, room), "patch_embed"));
  }
  return LRL_OK;
}
#else
lrl_status cuda_cudnn(struct lrl_ctx *, enum lrl_cudnn_use, int *) {
  return LRL_FAIL(LRL_ERR_LIB, "this build has no cuDNN: cudnn.h was not there when it was made");
}
void cuda_cudnn_destroy(cuda_state *) {}
lrl_status cudnn_forward(cuda_op &, const attention_args<bf16> &, const struct lrl_layout *, bf16 *,
                         float *, const char **) {
  return LRL_OK;
}
lrl_status cudnn_patch_embed(cuda_op &, const struct lrl_patch_embed_fwd_args *, const float *,
                             const void *, void *, const char **) {
  return LRL_OK;
}
#endif
