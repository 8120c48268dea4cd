#pragma once
// The convolution engines, one translation unit per element type.
#include "kernels/cpu/conv.h"

namespace weft::cpu::conv {

struct Correlation;

void correlate_f32(const Correlation& r, const void* x, const void* w, const void* bias, void* y);
void correlate_f64(const Correlation& r, const void* x, const void* w, const void* bias, void* y);
void correlate_bf16(const Correlation& r, const void* x, const void* w, const void* bias, void* y);
void correlate_f16(const Correlation& r, const void* x, const void* w, const void* bias, void* y);
void correlate_i64(const Correlation& r, const void* x, const void* w, const void* bias, void* y);

void weight_gradient_f32(const Conv& c, const void* x, const void* dy, void* dw, void* db);
void weight_gradient_f64(const Conv& c, const void* x, const void* dy, void* dw, void* db);
void weight_gradient_bf16(const Conv& c, const void* x, const void* dy, void* dw, void* db);
void weight_gradient_f16(const Conv& c, const void* x, const void* dy, void* dw, void* db);

}  // namespace weft::cpu::conv
