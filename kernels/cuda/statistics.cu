#include "core/ops/statistics.h"

#include <cmath>

#include "kernels/cuda/reduce_values.cuh"

namespace weft::gpu {
namespace {

// In f32 by kernels for elements of types S, in f64 by one for all dtypes.
template <class R, class... S>
void reduce_in(const cpu::ReducePlan& plan, const Ends<typename R::Acc>& ends) {
  if constexpr (std::is_same_v<typename R::Acc, double>)
    reduce<R>({plan, ends});
  else
    reduce<R, S...>({plan, ends});
}

// log(value) + centre, or value^exponent.
template <class T>
__global__ void __launch_bounds__(kThreads)
    end_values(const T* values, const T* centre, T exponent, void* out, DType dtype, i64 n) {
  WEFT_FOR_EACH(i, n) {
    const T v = values[i];
    store_as(out, i, dtype, centre != nullptr ? math::log(v) + centre[i] : math::pow(v, exponent));
  }
}
template <class T>
void launch_end(const T* values, const T* centre, double exponent, const Tensor& out) {
  launch(end_values<T>, grid_for(out.numel()), kThreads, 0, current_stream(), values, centre, T(exponent),
         out.impl()->data, out.dtype(), out.numel());
}

template <class T>
void var_as(const OpCall& c) {
  const auto& a = c.as<VarOp::Attrs>();
  const Tensor& x = c.in[0];
  const cpu::ReducePlan plan(x, a.reduce.mask, kAccumulator<T>);
  const T n = T(detail::reduced_count(x.sizes(), a.reduce.mask));
  const Workspace mean(size_t(c.out[0].numel()) * sizeof(T));
  Ends<T> ends = ends_in<T>(c.out[1]);
  ends.how = Ending::divide;
  ends.number = n;
  ends.kept = mean.as<T>();
  reduce_sums({plan, ends});
  ends = ends_in<T>(c.out[0]);
  ends.how = a.root ? Ending::divide_root : Ending::divide;
  ends.number = T(std::max(0.0, double(n) - a.correction));
  ends.centre = mean.as<T>();
  reduce_in<CentredSquare<order::Sum<T>, T>, float, BFloat16>(plan, ends);
}

template <class T>
void norm_as(const OpCall& c) {
  using Sum = order::Sum<T>;
  const auto& a = c.as<NormOp::Attrs>();
  const cpu::ReducePlan plan(c.in[0], a.reduce.mask, kAccumulator<T>);
  Ends<T> ends = ends_in<T>(c.out[0]);
  if (std::isinf(a.p)) return reduce<AbsoluteExtreme<T>>(Reduction<T>{plan, ends}.turned(a.p < 0));
  if (a.p == 0) return reduce<Truth<Sum, T>>({plan, ends});
  // The norm of one value is its absolute value, without the rounding of powers.
  if (a.p == 1 || detail::reduced_count(c.in[0].sizes(), a.reduce.mask) == 1)
    return reduce<Absolute<Sum, T>>({plan, ends});
  if (a.p == 2) {
    ends.how = Ending::root;
    return reduce_in<Square<Sum, T>, float, BFloat16>(plan, ends);
  }
  const Workspace total(size_t(c.out[0].numel()) * sizeof(T));
  ends = {};
  ends.kept = total.as<T>();
  reduce<Power<Sum, T>>({plan, ends, T(a.p)});
  launch_end<T>(total.as<T>(), nullptr, 1 / a.p, c.out[0]);
}

template <class T>
void logsumexp_as(const OpCall& c) {
  const cpu::ReducePlan plan(c.in[0], c.as<ReduceAttrs>().mask, kAccumulator<T>);
  const size_t results = size_t(c.out[0].numel());
  const Workspace work(2 * results * sizeof(T));
  T *largest = work.as<T>(), *total = largest + results;
  Ends<T> ends;
  ends.how = Ending::finite;
  ends.kept = largest;
  reduce_extremes({plan, ends});
  ends.how = Ending::none;
  ends.kept = total;
  ends.centre = largest;
  reduce_in<CentredExp<order::Sum<T>, T>, float>(plan, ends);
  launch_end<T>(total, largest, 1, c.out[0]);
}

}  // namespace

void var(const OpCall& c) {
  if (c.out[0].numel() == 0) return;
  c.in[0].dtype() == DType::f64 ? var_as<double>(c) : var_as<float>(c);
}
void norm(const OpCall& c) {
  if (c.out[0].numel() == 0) return;
  c.out[0].dtype() == DType::f64 ? norm_as<double>(c) : norm_as<float>(c);
}
void logsumexp(const OpCall& c) {
  if (c.out[0].numel() == 0) return;
  c.out[0].dtype() == DType::f64 ? logsumexp_as<double>(c) : logsumexp_as<float>(c);
}

}  // namespace weft::gpu
