#include "kernels/cpu/conv_weight.h"

#include "kernels/cpu/conv_engines.h"

namespace weft::cpu::conv {

void weight_gradient_f32(const Conv& c, const void* x, const void* dy, void* dw, void* db) {
  weight_gradient<float, float>(c, x, dy, dw, db);
}
void weight_gradient_f64(const Conv& c, const void* x, const void* dy, void* dw, void* db) {
  weight_gradient<double, double>(c, x, dy, dw, db);
}
void weight_gradient_bf16(const Conv& c, const void* x, const void* dy, void* dw, void* db) {
  weight_gradient<float, BFloat16>(c, x, dy, dw, db);
}
void weight_gradient_f16(const Conv& c, const void* x, const void* dy, void* dw, void* db) {
  weight_gradient<float, Half>(c, x, dy, dw, db);
}

}  // namespace weft::cpu::conv
