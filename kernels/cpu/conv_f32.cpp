// f32, and bf16 and f16 computed in f32.
#include "kernels/cpu/conv_correlate.h"
#include "kernels/cpu/conv_engines.h"

namespace weft::cpu::conv {

void correlate_f32(const Correlation& r, const void* x, const void* w, const void* bias, void* y) {
  correlate<float, float>(r, x, w, bias, y);
}
void correlate_bf16(const Correlation& r, const void* x, const void* w, const void* bias, void* y) {
  correlate<float, BFloat16>(r, x, w, bias, y);
}
void correlate_f16(const Correlation& r, const void* x, const void* w, const void* bias, void* y) {
  correlate<float, Half>(r, x, w, bias, y);
}

}  // namespace weft::cpu::conv
