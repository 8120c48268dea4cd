#include "core/ops/range.h"

namespace weft::cpu {

void arange(const OpCall& c) {
  const auto& a = c.as<ArangeOp::Attrs>();
  const Tensor& out = c.out[0];
  auto fill = [&](auto* p, auto start, auto step) {
    using T = decltype(start);
    for (int64_t i = 0; i < out.numel(); ++i) p[i] = start + static_cast<T>(i) * step;
  };
  if (out.dtype() == DType::i64)
    fill(static_cast<int64_t*>(out.data_ptr()), a.start.i64(), a.step.i64());
  else
    fill(static_cast<double*>(out.data_ptr()), a.start.f64(), a.step.f64());
}

void linspace(const OpCall& c) {
  const auto& a = c.as<LinspaceOp::Attrs>();
  const Tensor& out = c.out[0];
  auto fill = [&](auto* p) {
    using F = std::remove_reference_t<decltype(*p)>;
    const int64_t n = out.numel();
    const F start = static_cast<F>(a.start), end = static_cast<F>(a.end), step = detail::linspace_step(start, end, n);
    for (int64_t i = 0; i < n; ++i) p[i] = detail::linspace_value(start, end, step, i, n);
  };
  if (out.dtype() == DType::f64)
    fill(static_cast<double*>(out.data_ptr()));
  else
    fill(static_cast<float*>(out.data_ptr()));
}

}  // namespace weft::cpu
