#include "kernels/cuda/dnn.h"

namespace weft::gpu::dnn {
namespace {

constexpr int64_t kMost = int64_t{1} << 31;

bool in_rows(const AttentionOperand& o) {
  if (o.data == nullptr) return true;  // not part of the call
  return o.strides[3] == 1 && o.strides[0] % 8 == 0 && o.strides[1] % 8 == 0 && o.strides[2] % 8 == 0 &&
         o.strides[2] > 0 && reinterpret_cast<uintptr_t>(o.data) % 16 == 0;
}

}  // namespace

bool library_takes(const ConvolutionCall& c) {
  if (c.dtype != DType::f32 && c.dtype != DType::f64 && c.dtype != DType::bf16 && c.dtype != DType::f16) return false;
  int64_t x = c.batch * c.cin, y = c.batch * c.cout, w = c.cout * (c.cin / c.groups);
  for (int d = 0; d < 3; ++d) x *= c.x_size[d], y *= c.y_size[d], w *= c.kernel[d];
  for (int d = 0; d < 3; ++d) {
    const int64_t reach = c.dilation[d] * (c.kernel[d] - 1), padded = c.x_size[d] + 2 * c.padding[d];
    if (padded <= reach || c.y_size[d] != (padded - reach - 1) / c.stride[d] + 1) return false;
  }
  return x > 0 && y > 0 && w > 0 && x < kMost && y < kMost && w < kMost;
}

bool library_takes(const AttentionCall& c) {
  if ((c.dtype != DType::bf16 && c.dtype != DType::f16) || c.mask != nullptr) return false;
  if (c.batch * c.heads * c.tq * c.tk == 0 || c.d == 0 || c.dv == 0) return false;
  if (c.d % 8 != 0 || c.dv % 8 != 0 || c.d > 256 || c.dv > 256) return false;
  for (const AttentionOperand* o : {&c.q, &c.k, &c.v, &c.o, &c.grad_o, &c.grad_q, &c.grad_k, &c.grad_v})
    if (!in_rows(*o)) return false;
  return true;
}

}  // namespace weft::gpu::dnn
