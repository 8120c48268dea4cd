#include "kernels/cpu/reduce_plan.h"

#include "core/ops/math.h"
#include "core/reduction_order.h"
#include "kernels/cpu/strided.h"

namespace weft::cpu {
namespace {

void append(Dims& sizes, Dims& strides, int64_t size, int64_t stride) {
  if (size == 1) return;
  if (!sizes.empty() && strides.back() == stride * size) {
    sizes.back() *= size;
    strides.back() = stride;
  } else {
    sizes.push_back(size);
    strides.push_back(stride);
  }
}

template <class T, class F>
void each(T* to, const T* from, int64_t n, F f) {
  WEFT_VECTOR_LOOP
  for (int64_t i = 0; i < n; ++i) to[i] = f(from[i]);
}

// centre[0] for all elements, or centre[i] for element i. `to` may be `from`.
template <class T>
void prepare_values(const ReducePlan& p, T* to, const T* from, int64_t n, const T* centre, bool one_centre) {
  switch (p.prepare) {
    case Prepare::none:
    case Prepare::truth:
      return;
    case Prepare::absolute:
      return each(to, from, n, [](T v) { return math::abs(v); });
    case Prepare::square:
      return each(to, from, n, [](T v) { return v * v; });
    default:
      break;
  }
  if constexpr (!std::is_same_v<T, int64_t>) {
    if (p.prepare == Prepare::power) {
      const T exponent = static_cast<T>(p.exponent);
      return each(to, from, n, [exponent](T v) { return math::pow(math::abs(v), exponent); });
    }
    if (one_centre) {
      const T c = centre[0];
      if (p.prepare == Prepare::centred_square)
        each(to, from, n, [c](T v) { return (v - c) * (v - c); });
      else
        each(to, from, n, [c](T v) { return math::exp(v - c); });
      return;
    }
    WEFT_VECTOR_LOOP
    for (int64_t i = 0; i < n; ++i) to[i] = from[i] - centre[i];
    if (p.prepare == Prepare::centred_square)
      each(to, to, n, [](T v) { return v * v; });
    else
      each(to, to, n, [](T v) { return math::exp(v); });
  }
}

void prepare_any(const ReducePlan& p, char* to, const char* from, int64_t n, int64_t result, bool one_centre) {
  if (p.prepare == Prepare::none || p.prepare == Prepare::truth) return;
  auto run = [&]<class T>(T* values) {
    prepare_values(p, values, reinterpret_cast<const T*>(from), n,
                   static_cast<const T*>(p.centre) + (p.centre ? result : 0), one_centre);
  };
  if (p.acc == DType::f32)
    run(reinterpret_cast<float*>(to));
  else if (p.acc == DType::f64)
    run(reinterpret_cast<double*>(to));
  else
    run(reinterpret_cast<int64_t*>(to));
}

}  // namespace

ReducePlan::ReducePlan(const Tensor& x, unsigned mask, DType acc_dtype, Prepare what)
    : base(static_cast<const char*>(x.data_ptr())),
      dtype(x.dtype()),
      acc(acc_dtype),
      item(static_cast<int64_t>(itemsize(x.dtype()))),
      prepare(what) {
  const Dims& sizes = x.sizes();
  const Dims& strides = x.strides();
  for (int d = 0; d < sizes.size(); ++d) {
    if (mask >> d & 1) {
      n *= sizes[d];
      append(reduced_sizes, reduced_strides, sizes[d], strides[d]);
    } else {
      results *= sizes[d];
      append(kept_sizes, kept_strides, sizes[d], strides[d]);
    }
  }
  if (kept_sizes.empty()) kept_sizes.push_back(1), kept_strides.push_back(0);
  if (reduced_sizes.empty()) reduced_sizes.push_back(1), reduced_strides.push_back(0);
}

int64_t ReducePlan::place(int64_t result) const {
  int64_t offset = 0;
  for (int d = kept_sizes.size() - 1; d > 0; --d) {
    offset += result % kept_sizes[d] * kept_strides[d];
    result /= kept_sizes[d];
  }
  return offset + result * kept_strides[0];
}

void ReducePlan::take(char* to, const char* from, int64_t stride, int64_t count) const {
  if (prepare != Prepare::truth) return converter(acc, dtype)(to, 1, from, stride, count);
  constexpr int64_t kRun = 256;
  uint8_t truth[kRun];
  const int64_t width = static_cast<int64_t>(itemsize(acc));
  for (int64_t i = 0; i < count; i += kRun) {
    int64_t run = std::min(kRun, count - i);
    converter(DType::bool_, dtype)(truth, 1, from + i * stride * item, stride, run);
    converter(acc, DType::bool_)(to + i * width, 1, truth, 1, run);
  }
}

void ReducePlan::gather(void* to, int64_t result, int64_t first, int64_t count) const {
  char* out = static_cast<char*>(to);
  const int64_t width = static_cast<int64_t>(itemsize(acc)), kept = place(result);
  if (dtype == acc && prepare > Prepare::truth && reduced_sizes.size() == 1 && reduced_strides[0] == 1)
    return prepare_any(*this, out, base + (kept + first) * item, count, result, true);
  if (reduced_sizes.size() == 1) {
    take(out, base + (kept + first * reduced_strides[0]) * item, reduced_strides[0], count);
  } else {
    Cursor at(reduced_sizes, reduced_strides, first);
    at.take(count, [&](int64_t offset, int64_t stride, int64_t run) {
      take(out, base + (kept + offset) * item, stride, run);
      out += run * width;
    });
  }
  prepare_any(*this, static_cast<char*>(to), static_cast<char*>(to), count, result, true);
}

void ReducePlan::gather_row(void* to, int64_t result, int64_t i, int64_t columns) const {
  int64_t offset = place(result);
  for (int d = reduced_sizes.size() - 1; d > 0; --d) {
    offset += i % reduced_sizes[d] * reduced_strides[d];
    i /= reduced_sizes[d];
  }
  offset += i * reduced_strides[0];
  take(static_cast<char*>(to), base + offset * item, 1, columns);
  prepare_any(*this, static_cast<char*>(to), static_cast<char*>(to), columns, result, false);
}

}  // namespace weft::cpu
