/* Operation graphs of cuDNN's backend API. cuDNN is opened when it is first asked for: the library
 * is large, few runs use it, and a machine without it must still run the rest. Its header may be
 * missing where this is compiled; then LRL_WITH_CUDNN is 0 and nothing of it is there. */
#ifndef LRL_CUDA_CUDNN_GRAPH_CUH
#define LRL_CUDA_CUDNN_GRAPH_CUH
#if __has_include(<cudnn.h>)
#define LRL_WITH_CUDNN 1
#include <cudnn.h>
#include <vector>

#include "kernels/status.h"

#define LRL_CUDNN_FUNCTIONS(X)                                                                     \
  X(cudnnGetVersion)                                                                               \
  X(cudnnGetErrorString)                                                                           \
  X(cudnnCreate)                                                                                   \
  X(cudnnDestroy)                                                                                  \
  X(cudnnSetStream)                                                                                \
  X(cudnnBackendCreateDescriptor)                                                                  \
  X(cudnnBackendDestroyDescriptor)                                                                 \
  X(cudnnBackendSetAttribute)                                                                      \
  X(cudnnBackendGetAttribute)                                                                      \
  X(cudnnBackendFinalize)                                                                          \
  X(cudnnBackendExecute)
struct cudnn_api {
#define LRL_CUDNN_MEMBER(f) decltype(&::f) f;
  LRL_CUDNN_FUNCTIONS(LRL_CUDNN_MEMBER)
#undef LRL_CUDNN_MEMBER
};
/* Errors: the library cannot be opened, or lacks a function. */
lrl_status cudnn_open(const cudnn_api **api);

/* Operations are added in order, then plan() is called once and run() any number of times. After
 * the first failure the rest does nothing, and plan() says what failed. */
class cudnn_graph {
  const cudnn_api *const api_;
  std::vector<cudnnBackendDescriptor_t> all_, ops_;
  cudnnBackendDescriptor_t plan_ = NULL;
  cudnnStatus_t failed_ = CUDNN_STATUS_SUCCESS;
  int at_ = 0; /* attribute or descriptor type that failed */
  int64_t workspace_ = 0, engine_ = -1, next_virtual_ = 1 << 20;
  void check(cudnnStatus_t s, int at) {
    if (failed_ == CUDNN_STATUS_SUCCESS && s != CUDNN_STATUS_SUCCESS)
      at_ = at, failed_ = s;
  }

  bool exact(cudnnBackendDescriptor_t config, bool tensor_cores);

public:
  typedef cudnnBackendDescriptor_t node;
  enum kind { REAL, VIRTUAL, VALUE }; /* memory, between operations, a number in host memory */
  explicit cudnn_graph(const cudnn_api *api) : api_(api) {}
  cudnn_graph(const cudnn_graph &) = delete;
  ~cudnn_graph();

  node create(cudnnBackendDescriptorType_t type);
  void set(node d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t n,
           const void *values);
  void set(node d, cudnnBackendAttributeName_t name, node value) {
    if (value != NULL)
      set(d, name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value);
  }
  void finalize(node d, cudnnBackendDescriptorType_t type);

  /* id names memory for run(). Sizes and strides of four dimensions. ragged: [n + 1] offsets in
   * elements of the first dimension's items. */
  node tensor(int64_t id, cudnnDataType_t type, const int64_t (&dim)[4], const int64_t (&stride)[4],
              kind k = REAL, node ragged = NULL);
  node virtual_tensor(cudnnDataType_t type, const int64_t (&dim)[4]) {
    const int64_t dense[4] = {dim[1] * dim[2] * dim[3], dim[2] * dim[3], dim[3], 1};
    return tensor(next_virtual_++, type, dim, dense, VIRTUAL);
  }
  /* y = x op b, where mask chooses between them if op selects; axis of op generates indices. */
  void pointwise(cudnnPointwiseMode_t op, cudnnDataType_t compute, node x, node b, node mask,
                 node y, int64_t axis = -1);
  void reduce(cudnnReduceTensorOp_t op, node x, node y);
  /* c = a b; sizes of matrices that are smaller than their tensors come from m, n, k (or NULL). */
  void matmul(node a, node b, node c, node m, node n, node k);
  /* y = x * w over two dimensions without padding, x [n, c, h, w], w [k, c, stride, stride]; the
   * description of such a convolution. */
  void convolution(node x, node w, node y, int64_t stride);
  node patches(int64_t stride);
  /* An operation made with create, set and finalize. */
  void add(node op) { ops_.push_back(op); }

  /* The first engine that takes the graph, of those that give the same bits in every run and sum in
   * f32; tensor_cores false: without tensor cores too, which would round f32 operands to TF32.
   * CUDNN_STATUS_NOT_SUPPORTED: there is none. device: properties of a device instead of a
   * handle. */
  cudnnStatus_t plan(cudnnHandle_t handle, bool tensor_cores, node device = NULL);
  int64_t workspace() const { return workspace_; }
  int64_t engine() const { return engine_; } /* cuDNN's number of it */
  cudnnStatus_t run(cudnnHandle_t handle, int n, const int64_t *ids, void *const *memory,
                    void *workspace);
  int failed_at() const { return at_; }
};

#else
#define LRL_WITH_CUDNN 0
#endif
#endif
