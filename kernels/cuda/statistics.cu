#include "core/ops/statistics.h"

#include <cmath>

#include "kernels/cuda/reduce_values.cuh"

namespace weft::gpu {
namespace {

// One kernel for all dtypes: each that is read in its own way is a tenth of a megabyte.
template <class R>
void reduce_any_values(const Tensor& x, unsigned mask, const Ends<typename R::Acc>& ends) {
  const cpu::ReducePlan plan(x, mask, kAccumulator<typename R::Acc>);
  if (plan.results > 0) reduce_from<R, AnyElement>({plan, ends});
}
// Kernels of its own for what training runs: f32, bf16 and f16.
template <class R>
void reduce_values(const Tensor& x, unsigned mask, const Ends<typename R::Acc>& ends) {
  if constexpr (std::is_same_v<typename R::Acc, double>) {
    reduce_any_values<R>(x, mask, ends);
  } else {
    const cpu::ReducePlan plan(x, mask, kAccumulator<typename R::Acc>);
    reduce<R>({plan, ends});
  }
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
  using Sum = order::Sum<T>;
  const auto& a = c.as<VarOp::Attrs>();
  const Tensor& x = c.in[0];
  const T n = T(detail::reduced_count(x.sizes(), a.reduce.mask));
  const Workspace mean(size_t(c.out[0].numel()) * sizeof(T));
  Ends<T> ends = ends_in<T>(c.out[1]);
  ends.how = Ending::divide;
  ends.number = n;
  ends.kept = mean.as<T>();
  reduce_values<AsIs<Sum, T>>(x, a.reduce.mask, ends);
  ends = ends_in<T>(c.out[0]);
  ends.how = a.root ? Ending::divide_root : Ending::divide;
  ends.number = T(std::max(0.0, double(n) - a.correction));
  ends.centre = mean.as<T>();
  reduce_values<CentredSquare<Sum, T>>(x, a.reduce.mask, ends);
}

template <class T>
void norm_as(const OpCall& c) {
  using Sum = order::Sum<T>;
  const auto& a = c.as<NormOp::Attrs>();
  const Tensor& x = c.in[0];
  const unsigned mask = a.reduce.mask;
  Ends<T> ends = ends_in<T>(c.out[0]);
  if (std::isinf(a.p))
    return a.p > 0 ? reduce_any_values<Absolute<order::Max<T>, T>>(x, mask, ends)
                   : reduce_any_values<Absolute<order::Min<T>, T>>(x, mask, ends);
  if (a.p == 0) return reduce_any_values<Truth<Sum, T>>(x, mask, ends);
  // The norm of one value is its absolute value, without the rounding of powers.
  if (a.p == 1 || detail::reduced_count(x.sizes(), mask) == 1)
    return reduce_any_values<Absolute<Sum, T>>(x, mask, ends);
  if (a.p == 2) {
    ends.how = Ending::root;
    return reduce_values<Square<Sum, T>>(x, mask, ends);
  }
  const Workspace total(size_t(c.out[0].numel()) * sizeof(T));
  ends = {};
  ends.kept = total.as<T>();
  // Powers cost more than any way to read: one kernel serves all dtypes.
  const cpu::ReducePlan plan(x, mask, kAccumulator<T>);
  reduce_from<Power<Sum, T>, AnyElement>({plan, ends, T(a.p)});
  launch_end<T>(total.as<T>(), nullptr, 1 / a.p, c.out[0]);
}

template <class T>
void logsumexp_as(const OpCall& c) {
  const unsigned mask = c.as<ReduceAttrs>().mask;
  const size_t results = size_t(c.out[0].numel());
  const Workspace work(2 * results * sizeof(T));
  T *largest = work.as<T>(), *total = largest + results;
  Ends<T> ends;
  ends.how = Ending::finite;
  ends.kept = largest;
  reduce_values<AsIs<order::Max<T>, T>>(c.in[0], mask, ends);
  ends.how = Ending::none;
  ends.kept = total;
  ends.centre = largest;
  reduce_values<CentredExp<order::Sum<T>, T>>(c.in[0], mask, ends);
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
