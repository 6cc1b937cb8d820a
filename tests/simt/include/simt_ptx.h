/* Inline PTX: tests/simt/rewrite.cc turns asm("...": "=r"(x) : "r"(y)) into simt::ptx with the same
 * text, which tests/simt/ptx.cc interprets. */
#pragma once
#include <initializer_list>
#include <string.h>

namespace simt {
struct ptx_operand {
  const char *constraint;
  void *out; /* NULL: an input */
  int bytes;
  uint64_t value;
};
template <class T> inline ptx_operand ptx_out(const char *constraint, T &x) {
  ptx_operand o = {constraint, (void *)&x, sizeof x, 0};
  static_assert(sizeof x <= 8, "type of an asm operand");
  if (constraint[0] == '+')
    memcpy(&o.value, (const void *)&x, sizeof x);
  return o;
}
template <class T> inline ptx_operand ptx_in(const char *constraint, T x) {
  ptx_operand o = {constraint, nullptr, sizeof x, 0};
  static_assert(sizeof x <= 8, "type of an asm operand");
  memcpy(&o.value, (const void *)&x, sizeof x);
  return o;
}
void ptx(const char *site, const char *text, std::initializer_list<ptx_operand> operands);
} // namespace simt
