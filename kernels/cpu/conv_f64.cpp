// f64 and i64.
#include "kernels/cpu/conv_correlate.h"
#include "kernels/cpu/conv_engines.h"

namespace weft::cpu::conv {

void correlate_f64(const Correlation& r, const void* x, const void* w, const void* bias, void* y) {
  correlate<double, double>(r, x, w, bias, y);
}
void correlate_i64(const Correlation& r, const void* x, const void* w, const void* bias, void* y) {
  correlate<int64_t, int64_t>(r, x, w, bias, y);
}

}  // namespace weft::cpu::conv
