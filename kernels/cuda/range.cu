#include "core/ops/range.h"

#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/kernels.h"

namespace weft::gpu {
namespace {

template <class T>
__global__ void __launch_bounds__(kThreads) arange_kernel(T* out, i64 n, T start, T step) {
  for (i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += i64(gridDim.x) * blockDim.x)
    out[i] = start + T(i) * step;
}
template <class F>
__global__ void __launch_bounds__(kThreads) linspace_kernel(F* out, i64 n, F start, F end, F step) {
  for (i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x; i < n; i += i64(gridDim.x) * blockDim.x)
    out[i] = detail::linspace_value(start, end, step, i, n);
}
template <class F>
void run_linspace(const Tensor& out, const LinspaceOp::Attrs& a) {
  const F start = F(a.start), end = F(a.end);
  launch(linspace_kernel<F>, grid_for(out.numel()), kThreads, 0, current_stream(), static_cast<F*>(out.impl()->data),
         out.numel(), start, end, detail::linspace_step(start, end, out.numel()));
}

}  // namespace

void arange(const OpCall& c) {
  const auto& a = c.as<ArangeOp::Attrs>();
  const Tensor& out = c.out[0];
  if (out.numel() == 0) return;
  if (out.dtype() == DType::i64)
    launch(arange_kernel<i64>, grid_for(out.numel()), kThreads, 0, current_stream(),
           static_cast<i64*>(out.impl()->data), out.numel(), a.start.i64(), a.step.i64());
  else
    launch(arange_kernel<double>, grid_for(out.numel()), kThreads, 0, current_stream(),
           static_cast<double*>(out.impl()->data), out.numel(), a.start.f64(), a.step.f64());
}

void linspace(const OpCall& c) {
  const Tensor& out = c.out[0];
  if (out.numel() == 0) return;
  if (out.dtype() == DType::f64)
    run_linspace<double>(out, c.as<LinspaceOp::Attrs>());
  else
    run_linspace<float>(out, c.as<LinspaceOp::Attrs>());
}

}  // namespace weft::gpu
