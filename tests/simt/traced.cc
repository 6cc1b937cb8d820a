/* Whether the kernels of this library are instrumented: compiled once each way. */
#include "simt.h"
namespace simt {
extern const bool traced = SIMT_TRACED;
}
