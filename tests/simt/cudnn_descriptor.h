/* Descriptors of the stand-in for cuDNN: cudnn.cc makes and checks them, cudnn_execute.cc computes
 * what they say. */
#ifndef SIMT_CUDNN_DESCRIPTOR_H
#define SIMT_CUDNN_DESCRIPTOR_H
#include <cudnn.h>

#include <map>
#include <memory>
#include <string.h>
#include <vector>

namespace simt_cudnn {
struct descriptor;
typedef std::shared_ptr<descriptor> ref;
struct attribute {
  cudnnBackendAttributeType_t type;
  int64_t n = 0;
  std::vector<char> bytes;
  std::vector<ref> refs;
};
struct descriptor {
  cudnnBackendDescriptorType_t type;
  bool final = false;
  std::map<int, attribute> has;
  bool have(int name) const { return has.count(name) != 0; }
  int64_t integer(int name, int64_t otherwise = 0) const {
    int64_t v = otherwise;
    if (have(name))
      memcpy(&v, has.at(name).bytes.data(), 8);
    return v;
  }
  int choice(int name) const {
    int v = 0;
    memcpy(&v, has.at(name).bytes.data(), 4);
    return v;
  }
  float number(int name) const {
    float v = 0.0f;
    memcpy(&v, has.at(name).bytes.data(), 4);
    return v;
  }
  bool flag(int name) const { return have(name) && has.at(name).bytes[0] != 0; }
  ref one(int name) const { return have(name) ? has.at(name).refs[0] : ref(); }
  std::vector<int64_t> integers(int name) const {
    std::vector<int64_t> v((size_t)has.at(name).n);
    memcpy(v.data(), has.at(name).bytes.data(), v.size() * 8);
    return v;
  }
};
struct tensor {
  int64_t id, dim[4], stride[4];
  int type;
  bool is_virtual, by_value;
  int64_t ragged = -1;
  int64_t count() const { return dim[0] * dim[1] * dim[2] * dim[3]; }
  /* Place of an element; a dimension of one is repeated. */
  int64_t at(const int64_t (&i)[4], const int64_t (&step)[4]) const {
    int64_t p = 0;
    for (int k = 0; k < 4; k++)
      p += (dim[k] == 1 ? 0 : i[k]) * step[k];
    return p;
  }
};
tensor tensor_of(const ref &d);
/* Plain f32; f32 operands of products rounded to TF32; sums in another order every other time. */
enum engine { EXACT, TENSOR_CORES, ANY_ORDER, N_ENGINES };
/* Operations in order; memory of tensors by their unique ids; numbers of the host, copied. */
void execute(const std::vector<ref> &ops, const std::map<int64_t, void *> &memory,
             const std::map<int64_t, float> &numbers, int engine);
} // namespace simt_cudnn
#endif
