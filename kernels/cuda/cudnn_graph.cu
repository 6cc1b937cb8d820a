#include "kernels/cuda/cudnn_graph.cuh"
#if LRL_WITH_CUDNN
#include <dlfcn.h>
#include <string.h>

lrl_status cudnn_open(const cudnn_api **api) {
  static cudnn_api table;
  static bool opened;
  *api = &table;
  if (opened)
    return LRL_OK;
#ifdef LRL_CUDNN_LINKED /* the simulator's stand-in */
#define FUNCTION(f) table.f = ::f;
  LRL_CUDNN_FUNCTIONS(FUNCTION)
#else
  void *library = dlopen("libcudnn.so.9", RTLD_NOW | RTLD_LOCAL);
  if (library == NULL)
    return LRL_FAIL(LRL_ERR_LIB, "cuDNN 9 is not on this machine: %s", dlerror());
#define FUNCTION(f)                                                                                \
  {                                                                                                \
    void *symbol = dlsym(library, #f);                                                             \
    if (symbol == NULL)                                                                            \
      return LRL_FAIL(LRL_ERR_LIB, "libcudnn.so.9 has no function " #f);                           \
    memcpy(&table.f, &symbol, sizeof symbol);                                                      \
  }
  LRL_CUDNN_FUNCTIONS(FUNCTION)
#endif
#undef FUNCTION
  opened = true;
  return LRL_OK;
}

cudnn_graph::~cudnn_graph() {
  for (size_t i = all_.size(); i-- > 0;)
    api_->cudnnBackendDestroyDescriptor(all_[i]);
}
cudnn_graph::node cudnn_graph::create(cudnnBackendDescriptorType_t type) {
  node d = NULL;
  if (failed_ == CUDNN_STATUS_SUCCESS)
    check(api_->cudnnBackendCreateDescriptor(type, &d), (int)type);
  if (d != NULL)
    all_.push_back(d);
  return d;
}
void cudnn_graph::set(node d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                      int64_t n, const void *values) {
  if (failed_ == CUDNN_STATUS_SUCCESS)
    check(api_->cudnnBackendSetAttribute(d, name, type, n, values), (int)name);
}
void cudnn_graph::finalize(node d, cudnnBackendDescriptorType_t type) {
  if (failed_ == CUDNN_STATUS_SUCCESS)
    check(api_->cudnnBackendFinalize(d), (int)type);
}

cudnn_graph::node cudnn_graph::tensor(int64_t id, cudnnDataType_t type, const int64_t (&dim)[4],
                                      const int64_t (&stride)[4], kind k, node ragged) {
  const int64_t alignment = 16;
  const bool yes = true;
  node t = create(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  set(t, CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &type);
  set(t, CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, 4, dim);
  set(t, CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, 4, stride);
  set(t, CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, 1, &id);
  set(t, CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, 1, &alignment);
  if (k == VIRTUAL)
    set(t, CUDNN_ATTR_TENSOR_IS_VIRTUAL, CUDNN_TYPE_BOOLEAN, 1, &yes);
  if (k == VALUE)
    set(t, CUDNN_ATTR_TENSOR_IS_BY_VALUE, CUDNN_TYPE_BOOLEAN, 1, &yes);
  set(t, CUDNN_ATTR_TENSOR_RAGGED_OFFSET_DESC, ragged);
  finalize(t, CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  return t;
}
void cudnn_graph::pointwise(cudnnPointwiseMode_t mode, cudnnDataType_t compute, node x, node b,
                            node mask, node y, int64_t axis) {
  node how = create(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  set(how, CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
  set(how, CUDNN_ATTR_POINTWISE_MATH_PREC, CUDNN_TYPE_DATA_TYPE, 1, &compute);
  if (axis >= 0)
    set(how, CUDNN_ATTR_POINTWISE_AXIS, CUDNN_TYPE_INT64, 1, &axis);
  finalize(how, CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  node op = create(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  set(op, CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, how);
  set(op, CUDNN_ATTR_OPERATION_POINTWISE_XDESC, x);
  set(op, CUDNN_ATTR_OPERATION_POINTWISE_BDESC, b);
  set(op, CUDNN_ATTR_OPERATION_POINTWISE_TDESC, mask);
  set(op, CUDNN_ATTR_OPERATION_POINTWISE_YDESC, y);
  finalize(op, CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR);
  add(op);
}
void cudnn_graph::reduce(cudnnReduceTensorOp_t mode, node x, node y) {
  const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
  node how = create(CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
  set(how, CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1, &mode);
  set(how, CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute);
  finalize(how, CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
  node op = create(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
  set(op, CUDNN_ATTR_OPERATION_REDUCTION_DESC, how);
  set(op, CUDNN_ATTR_OPERATION_REDUCTION_XDESC, x);
  set(op, CUDNN_ATTR_OPERATION_REDUCTION_YDESC, y);
  finalize(op, CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR);
  add(op);
}
void cudnn_graph::matmul(node a, node b, node c, node m, node n, node k) {
  const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
  node how = create(CUDNN_BACKEND_MATMUL_DESCRIPTOR);
  set(how, CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute);
  finalize(how, CUDNN_BACKEND_MATMUL_DESCRIPTOR);
  node op = create(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
  set(op, CUDNN_ATTR_OPERATION_MATMUL_DESC, how);
  set(op, CUDNN_ATTR_OPERATION_MATMUL_ADESC, a);
  set(op, CUDNN_ATTR_OPERATION_MATMUL_BDESC, b);
  set(op, CUDNN_ATTR_OPERATION_MATMUL_CDESC, c);
  set(op, CUDNN_ATTR_OPERATION_MATMUL_GEMM_M_OVERRIDE_DESC, m);
  set(op, CUDNN_ATTR_OPERATION_MATMUL_GEMM_N_OVERRIDE_DESC, n);
  set(op, CUDNN_ATTR_OPERATION_MATMUL_GEMM_K_OVERRIDE_DESC, k);
  finalize(op, CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR);
  add(op);
}

void cudnn_graph::convolution(node x, node w, node y, int64_t stride) {
  const float alpha = 1.0f, beta = 0.0f;
  node op = create(CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
  set(op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, patches(stride));
  set(op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X, x);
  set(op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, w);
  set(op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y, y);
  set(op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA, CUDNN_TYPE_FLOAT, 1, &alpha);
  set(op, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA, CUDNN_TYPE_FLOAT, 1, &beta);
  finalize(op, CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR);
  add(op);
}
cudnn_graph::node cudnn_graph::patches(int64_t stride) {
  const cudnnDataType_t compute = CUDNN_DATA_FLOAT;
  const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  const int64_t dims = 2, strides[2] = {stride, stride}, dilations[2] = {1, 1}, none[2] = {};
  node how = create(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  set(how, CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, 1, &dims);
  set(how, CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, 1, &compute);
  set(how, CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
  set(how, CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, dims, strides);
  set(how, CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, dims, dilations);
  set(how, CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, dims, none);
  set(how, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, dims, none);
  finalize(how, CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  return how;
}

/* Whether an engine's notes allow what plan() promises. */
bool cudnn_graph::exact(node config, bool tensor_cores) {
  cudnn_graph own(api_);
  node engine = own.create(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
  int64_t n = 0, n_notes = 0;
  auto get = [&](node from, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                 int64_t most, int64_t *found, void *to) {
    if (own.failed_ == CUDNN_STATUS_SUCCESS)
      own.check(api_->cudnnBackendGetAttribute(from, name, type, most, found, to), name);
  };
  get(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &n, &engine);
  get(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
      CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &n_notes, notes);
  get(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &n, &engine_);
  bool good = own.failed_ == CUDNN_STATUS_SUCCESS;
  for (int64_t i = 0; good && i < n_notes; i++)
    good = notes[i] == CUDNN_NUMERICAL_NOTE_STRICT_NAN_PROP ||
           (notes[i] == CUDNN_NUMERICAL_NOTE_TENSOR_CORE && tensor_cores);
  return good;
}

cudnnStatus_t cudnn_graph::plan(cudnnHandle_t handle, bool tensor_cores, node device) {
  enum { MOST = 32 };
  node graph = create(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  set(graph, CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, (int64_t)ops_.size(),
      ops_.data());
  if (handle != NULL)
    set(graph, CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
  finalize(graph, CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  const cudnnBackendHeurMode_t mode = CUDNN_HEUR_MODE_A;
  node search = create(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  set(search, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  set(search, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
  set(search, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, device);
  finalize(search, CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  node found[MOST];
  for (int i = 0; i < MOST; i++)
    found[i] = create(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
  int64_t n_found = 0;
  if (failed_ == CUDNN_STATUS_SUCCESS)
    check(api_->cudnnBackendGetAttribute(search, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                         CUDNN_TYPE_BACKEND_DESCRIPTOR, MOST, &n_found, found),
          CUDNN_ATTR_ENGINEHEUR_RESULTS);
  if (failed_ != CUDNN_STATUS_SUCCESS)
    return failed_;
  /* Best first. What cannot be made into a plan after all is passed over. */
  cudnnStatus_t last = CUDNN_STATUS_NOT_SUPPORTED;
  for (int64_t i = 0; i < n_found && last / 1000 == CUDNN_STATUS_NOT_SUPPORTED / 1000; i++) {
    if (!exact(found[i], tensor_cores))
      continue;
    cudnn_graph attempt(api_);
    node p = attempt.create(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    attempt.set(p, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, found[i]);
    if (handle != NULL)
      attempt.set(p, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1, &handle);
    attempt.set(p, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, device);
    attempt.finalize(p, CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    int64_t n = 0;
    if (attempt.failed_ == CUDNN_STATUS_SUCCESS)
      attempt.check(api_->cudnnBackendGetAttribute(p, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                                   CUDNN_TYPE_INT64, 1, &n, &workspace_),
                    CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE);
    if (attempt.failed_ == CUDNN_STATUS_SUCCESS) {
      attempt.all_.clear();
      all_.push_back(p);
      plan_ = p;
      return CUDNN_STATUS_SUCCESS;
    }
    last = attempt.failed_;
  }
  return last;
}
cudnnStatus_t cudnn_graph::run(cudnnHandle_t handle, int n, const int64_t *ids, void *const *memory,
                               void *workspace) {
  cudnn_graph pack(api_);
  node p = pack.create(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set(p, CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, n, ids);
  pack.set(p, CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, n, memory);
  pack.set(p, CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
  pack.finalize(p, CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  return pack.failed_ != CUDNN_STATUS_SUCCESS ? pack.failed_
                                              : api_->cudnnBackendExecute(handle, plan_, p);
}
#endif
