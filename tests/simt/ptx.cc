/* Interpreter of inline PTX: the instructions CUDA sources write by hand. An unknown one is
 * reported and ends the launch. */
#include "ptx.h"
#include "device_limits.h"
#include "simt.h"

#include "include/cuda_bf16.h"

#include "include/cuda_fp16.h"

#include <math.h>
#include <stdlib.h>
#include <unordered_map>

namespace simt {
namespace {
struct machine {
  const char *file;
  int line;
  std::vector<ptx_operand> operands;
  std::map<std::string, uint64_t> registers;
};

uint64_t special(const std::string &n, bool *known) {
  const dim3 b = blockDim;
  *known = true;
  if (n == "%laneid")
    return (uint64_t)self->lane;
  if (n == "%warpid")
    return (uint64_t)self->warp;
  if (n == "%nwarpid")
    return (b.x * b.y * b.z + 31) / 32;
  if (n == "%smid")
    return (blockIdx.x + gridDim.x * (blockIdx.y + (uint64_t)gridDim.y * blockIdx.z)) %
           MULTIPROCESSORS;
  if (n == "%nsmid")
    return MULTIPROCESSORS;
  if (n == "%clock" || n == "%clock64")
    return (uint64_t)clock64();
  if (n == "%globaltimer")
    return (uint64_t)__globaltimer();
  const uint64_t bit = 1u << self->lane;
  if (n == "%lanemask_eq")
    return bit;
  if (n == "%lanemask_lt" || n == "%lanemask_le")
    return n.back() == 'e' ? 2 * bit - 1 : bit - 1;
  if (n == "%lanemask_ge" || n == "%lanemask_gt")
    return 0xffffffffu & ~(n.back() == 'e' ? bit - 1 : 2 * bit - 1);
  const uint3 sets[4] = {self->id, blockIdx, uint3{b.x, b.y, b.z},
                         uint3{gridDim.x, gridDim.y, gridDim.z}};
  const char *names[4] = {"%tid.", "%ctaid.", "%ntid.", "%nctaid."};
  for (int i = 0; i < 4; i++)
    if (n.compare(0, strlen(names[i]), names[i]) == 0)
      return n.back() == 'x' ? sets[i].x : n.back() == 'y' ? sets[i].y : sets[i].z;
  *known = false;
  return 0;
}
uint64_t get(machine &m, const std::string &n) {
  if (n[0] == '%' && isdigit((unsigned char)n[1]))
    return m.operands.at((size_t)atoi(n.c_str() + 1)).value;
  if (n.compare(0, 2, "0f") == 0)
    return strtoull(n.c_str() + 2, NULL, 16);
  if (isdigit((unsigned char)n[0]) || n[0] == '-')
    return (uint64_t)strtoll(n.c_str(), NULL, 0);
  bool known;
  const uint64_t s = special(n, &known);
  return known ? s : m.registers[n];
}
void set(machine &m, const std::string &n, uint64_t v) {
  if (n[0] == '%' && isdigit((unsigned char)n[1])) {
    ptx_operand &o = m.operands.at((size_t)atoi(n.c_str() + 1));
    o.value = v;
    if (o.out != nullptr)
      memcpy(o.out, &v, (size_t)o.bytes);
  } else if (n != "_") {
    m.registers[n] = v;
  }
}
float as_float(uint64_t v) {
  const uint32_t u = (uint32_t)v;
  float f;
  memcpy(&f, &u, 4);
  return f;
}
uint64_t from_float(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  return u;
}
int type_bytes(const std::string &t) { return t.size() < 2 ? 0 : atoi(t.c_str() + 1) / 8; }
uint64_t value(machine &m, const ptx_line &l, size_t i, size_t k = 0) {
  return get(m, l.args.at(i).names.at(k));
}

char *address(machine &m, const ptx_line &l, size_t i, bool shared) {
  const uint64_t a = value(m, l, i) + (uint64_t)l.args[i].offset;
  return shared ? static_cast<char *>(shared_pointer((uint32_t)a)) : reinterpret_cast<char *>(a);
}
void load_store(machine &m, const ptx_line &l) {
  const bool load = l.parts[0] == "ld", shared = l.has("shared");
  const int one = type_bytes(l.parts.back()), n = l.has("v4") ? 4 : l.has("v2") ? 2 : 1;
  char *p = address(m, l, load ? 1 : 0, shared);
  access(p, one * n, load ? READ : WRITE, self->ptx_site);
  if (shared && !is_shared(p, (size_t)(one * n))) {
    report("%s:%d: %s outside shared memory", m.file, m.line, l.op.c_str());
    return;
  }
  for (int i = 0; i < n; i++) {
    uint64_t v = 0;
    if (load) {
      memcpy(&v, p + i * one, (size_t)one);
      set(m, l.args[0].names.at((size_t)i), v);
    } else {
      v = value(m, l, 1, (size_t)i);
      memcpy(p + i * one, &v, (size_t)one);
    }
  }
}
void copy_async(machine &m, const ptx_line &l) {
  if (l.has("commit_group"))
    return cp_async_commit();
  if (l.has("wait_all")) {
    cp_async_commit();
    return cp_async_wait(0);
  }
  if (l.has("wait_group"))
    return cp_async_wait((int)value(m, l, 0));
  const int bytes = (int)value(m, l, 2);
  const int valid = l.args.size() > 3 ? (int)value(m, l, 3) : bytes;
  if (l.has("cg") && bytes != 16)
    report("%s:%d: cp.async.cg of %d bytes, only 16 exist", m.file, m.line, bytes);
  cp_async(address(m, l, 0, true), address(m, l, 1, false), bytes, valid, m.file, m.line);
}
bool matrix(machine &m, const ptx_line &l) {
  if (l.parts[0] == "ldmatrix") {
    uint32_t out[4];
    const int n = l.has("x4") ? 4 : l.has("x2") ? 2 : 1;
    ldmatrix(out, address(m, l, 1, true), n, l.has("trans"), m.file, m.line);
    for (int i = 0; i < n; i++)
      set(m, l.args[0].names.at((size_t)i), out[i]);
    return true;
  }
  const bool k16 = l.has("m16n8k16"), k8 = l.has("m16n8k8"), half = l.has("f16");
  if ((!k16 && !k8) || (!half && !l.has("bf16") && !(k8 && l.has("tf32"))))
    return false;
  const bool f16_result = !l.has("f32");
  mma_operand o = {};
  uint32_t *to[] = {o.a, o.b, o.c};
  for (size_t i = 1; i < 4; i++)
    for (size_t k = 0; k < l.args.at(i).names.size(); k++)
      to[i - 1][k] = (uint32_t)value(m, l, i, k);
  mma_sync(l.has("tf32") ? MMA_TF32_K8
           : half        ? (k16 ? MMA_F16_K16 : MMA_F16_K8)
                         : (k16 ? MMA_BF16_K16 : MMA_BF16_K8),
           f16_result, &o, m.file, m.line);
  for (size_t k = 0; k < l.args[0].names.size(); k++)
    set(m, l.args[0].names[k], o.d[k]);
  return true;
}
bool unary_float(machine &m, const ptx_line &l) {
  static const std::map<std::string, float (*)(float)> table = {
      {"ex2", exp2f},
      {"lg2", log2f},
      {"sqrt", sqrtf},
      {"tanh", tanhf},
      {"sin", sinf},
      {"cos", cosf},
      {"rcp", [](float x) { return 1.0f / x; }},
      {"rsqrt", [](float x) { return 1.0f / sqrtf(x); }},
      {"abs", fabsf},
      {"neg", [](float x) { return -x; }}};
  const auto f = table.find(l.parts[0]);
  if (f == table.end() || !l.has("f32"))
    return false;
  set(m, l.args[0].names[0], from_float(f->second(as_float(value(m, l, 1)))));
  return true;
}
bool convert(machine &m, const ptx_line &l) {
  const uint64_t x = value(m, l, 1);
  uint64_t r = x;
  if (l.has("bf16x2") || l.has("f16x2")) { /* the first source is the upper half */
    const auto bits = l.has("bf16x2") ? bf16_bits : half_bits;
    r = bits(as_float(value(m, l, 2))) | (uint32_t)bits(as_float(x)) << 16;
  } else if (l.has("tf32")) {
    r = ((uint32_t)x + 0x1000u) & 0xffffe000u;
  } else if (l.parts.back() == "f32") {
    const std::string &to = l.parts[l.parts.size() - 2];
    const float f = as_float(x);
    if (to == "bf16" || to == "f16")
      r = to == "bf16" ? bf16_bits(f) : half_bits(f);
    else if (to == "s32" || to == "u32")
      r = (uint32_t)(int32_t)(l.has("rni") ? rintf(f) : truncf(f));
    else
      return false;
  } else if (l.parts.back() == "u64" || l.parts.back() == "b64" || l.parts.back() == "u32") {
    r = l.has("u32") ? (uint32_t)x : x;
  } else {
    return false;
  }
  set(m, l.args[0].names[0], r);
  return true;
}
bool arithmetic(machine &m, const ptx_line &l) {
  const std::string &o = l.parts[0];
  const uint64_t a = value(m, l, 1), b = l.args.size() > 2 ? value(m, l, 2) : 0,
                 c = l.args.size() > 3 ? value(m, l, 3) : 0;
  const bool wide = l.parts.back().size() == 3 && l.parts.back().substr(1) == "64";
  const int64_t sa = wide ? (int64_t)a : (int32_t)a, sb = wide ? (int64_t)b : (int32_t)b;
  uint64_t r;
  if (l.has("f32")) {
    const float x = as_float(a), y = as_float(b), z = as_float(c);
    float f;
    if (o == "add")
      f = x + y;
    else if (o == "sub")
      f = x - y;
    else if (o == "mul")
      f = x * y;
    else if (o == "fma")
      f = fmaf(x, y, z);
    else if (o == "div")
      f = x / y;
    else if (o == "max")
      f = fmaxf(x, y);
    else if (o == "min")
      f = fminf(x, y);
    else
      return false;
    r = from_float(f);
  } else if (o == "add") {
    r = a + b;
  } else if (o == "sub") {
    r = a - b;
  } else if (o == "mul" && l.has("lo")) {
    r = a * b;
  } else if (o == "mad" && l.has("lo")) {
    r = a * b + c;
  } else if (o == "and") {
    r = a & b;
  } else if (o == "or") {
    r = a | b;
  } else if (o == "xor") {
    r = a ^ b;
  } else if (o == "shl") {
    r = b > 63 ? 0 : a << b;
  } else if (o == "shr") {
    r = b > 63 ? 0 : l.parts.back()[0] == 's' ? (uint64_t)(sa >> b) : (wide ? a : (uint32_t)a) >> b;
  } else if (o == "max") {
    r = l.parts.back()[0] == 's' ? (uint64_t)(sa > sb ? sa : sb) : a > b ? a : b;
  } else if (o == "min") {
    r = l.parts.back()[0] == 's' ? (uint64_t)(sa < sb ? sa : sb) : a < b ? a : b;
  } else if (o == "selp") {
    r = c != 0 ? a : b;
  } else {
    return false;
  }
  set(m, l.args[0].names[0], wide ? r : (uint32_t)r);
  return true;
}
bool compare(machine &m, const ptx_line &l) {
  const std::string &c = l.parts.at(1), &type = l.parts.back();
  const uint64_t a = value(m, l, 1), b = value(m, l, 2);
  int order; /* sign of a - b */
  if (type == "f32")
    order = (as_float(a) > as_float(b)) - (as_float(a) < as_float(b));
  else if (type[0] == 's')
    order = type == "s64" ? ((int64_t)a > (int64_t)b) - ((int64_t)a < (int64_t)b)
                          : ((int32_t)a > (int32_t)b) - ((int32_t)a < (int32_t)b);
  else
    order = (a > b) - (a < b);
  const bool r = c == "eq"                ? order == 0
                 : c == "ne"              ? order != 0
                 : c == "lt" || c == "lo" ? order < 0
                 : c == "le" || c == "ls" ? order <= 0
                 : c == "gt" || c == "hi" ? order > 0
                                          : order >= 0;
  set(m, l.args[0].names[0], r);
  return true;
}
bool execute(machine &m, const ptx_line &l) {
  const std::string &o = l.parts[0];
  if (!l.guard.empty() && (get(m, l.guard) != 0) == l.negated)
    return true;
  if (o == "reg" || o == "prefetch" || o == "griddepcontrol" || o == "discard")
    return true;
  if (o == "mov" || o == "cvta") {
    uint64_t v = value(m, l, 1);
    if (o == "cvta" && l.has("to") && l.has("shared"))
      v = shared_address(reinterpret_cast<void *>(v));
    for (size_t k = 0; o == "mov" && k < l.args[0].names.size() && l.args[0].names.size() > 1; k++)
      set(m, l.args[0].names[k],
          v >> (l.parts.back() == "b64" ? 32 : 16) * k &
              (l.parts.back() == "b64" ? 0xffffffffu : 0xffffu));
    if (l.args[0].names.size() == 1) {
      if (l.args[1].names.size() == 2)
        v = v | value(m, l, 1, 1) << (l.parts.back() == "b64" ? 32 : 16);
      set(m, l.args[0].names[0], v);
    }
    return true;
  }
  if (o == "cp" && l.parts.size() > 1 && l.parts[1] == "async" && !l.has("bulk")) {
    copy_async(m, l);
    return true;
  }
  if (o == "ldmatrix" || o == "mma")
    return matrix(m, l);
  if ((o == "ld" || o == "st") && !l.has("param")) {
    load_store(m, l);
    return true;
  }
  if (o == "bar" || (o == "barrier" && !l.has("cluster"))) {
    if (!l.has("sync"))
      return false;
    const bool warp = l.has("warp");
    if (warp)
      warp_sync((unsigned)value(m, l, 0), m.file, m.line);
    else
      barrier((int)value(m, l, 0), l.args.size() > 1 ? (int)value(m, l, 1) : 0, 0, m.file, m.line);
    return true;
  }
  if (o == "membar" || o == "fence") {
    if (!l.has("cta"))
      fence();
    return true;
  }
  if (o == "nanosleep") {
    yield();
    return true;
  }
  if (o == "setp")
    return compare(m, l);
  if (o == "cvt")
    return convert(m, l);
  return unary_float(m, l) || arithmetic(m, l);
}
} // namespace

void ptx(const char *site, const char *text, std::initializer_list<ptx_operand> operands) {
  struct source {
    std::vector<ptx_line> lines;
    std::string file;
    int line;
  };
  static std::unordered_map<const char *, source> parsed; /* by site: a literal's address */
  auto found = parsed.find(site);
  if (found == parsed.end()) {
    const char *colon = strrchr(site, ':');
    found = parsed
                .emplace(site, source{parse_ptx(text), std::string(site, (size_t)(colon - site)),
                                      atoi(colon + 1)})
                .first;
  }
  const source &s = found->second;
  machine m = {s.file.c_str(), s.line, operands, {}};
  self->ptx_site = site;
  for (const ptx_line &l : s.lines)
    if (!execute(m, l)) {
      report("%s: the simulator does not know the PTX instruction %s", site, l.op.c_str());
      trap(m.file, m.line);
    }
  self->ptx_site = NULL;
}
} // namespace simt
