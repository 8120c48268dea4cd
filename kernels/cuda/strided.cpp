#include "kernels/cuda/strided.h"

namespace weft::gpu {

bool LoopNest::dense(int k) const {
  int64_t step = 1;
  for (int d = dims - 1; d >= 0; --d) {
    if (sizes[d] != 1 && operands[k].strides[d] != step) return false;
    step *= sizes[d];
  }
  return true;
}

LoopNest make_nest(const Tensor& out, const Tensor* in, const int* which, int n) {
  const Dims* sizes[kMaxOperands] = {&out.sizes()};
  const Dims* strides[kMaxOperands] = {&out.strides()};
  for (int k = 0; k < n; ++k) {
    sizes[k + 1] = &in[which[k]].sizes();
    strides[k + 1] = &in[which[k]].strides();
  }
  const cpu::StridedLoop<kMaxOperands> loop(out.sizes(), n + 1, sizes, strides);
  LoopNest nest{};
  nest.count = n + 1;
  nest.numel = loop.numel;
  nest.dims = loop.sizes.size();
  for (int d = 0; d < nest.dims; ++d) nest.sizes[d] = loop.sizes[d];
  for (int k = 0; k <= n; ++k) {
    const Tensor& t = k == 0 ? out : in[which[k - 1]];
    LoopOperand& o = nest.operands[k];
    o.dtype = t.dtype();
    for (int d = 0; d < nest.dims; ++d) o.strides[d] = loop.strides[k][d];
    if (t.device().is_cpu()) {
      const Scalar value = t.item();
      o.number = value.f64();
      o.integer = value.is_floating() ? 0 : value.i64();
      if (value.is_bool()) o.integer = value.truth();
    } else {
      o.data = t.impl()->data;
    }
  }
  return nest;
}

}  // namespace weft::gpu
