#include "kernels/cpu/reduce_plan.h"

#include "core/ops/math_basic.h"
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

template <class T>
void prepare_values(Prepare prepare, T* x, int64_t n) {
  if (prepare == Prepare::square)
    for (int64_t i = 0; i < n; ++i) x[i] = x[i] * x[i];
  else
    for (int64_t i = 0; i < n; ++i) x[i] = math::abs(x[i]);
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

int64_t ReducePlan::offset_of(const Dims& sizes, const Dims& strides, int64_t index) {
  int64_t offset = 0;
  for (int d = sizes.size() - 1; d > 0; --d) {
    offset += index % sizes[d] * strides[d];
    index /= sizes[d];
  }
  return offset + index * strides[0];
}

void ReducePlan::take(char* to, const char* from, int64_t stride, int64_t count) const {
  if (prepare == Prepare::truth) {
    constexpr int64_t kRun = 256;
    uint8_t truth[kRun];
    const int64_t width = static_cast<int64_t>(itemsize(acc));
    for (int64_t i = 0; i < count; i += kRun) {
      int64_t n_run = std::min(kRun, count - i);
      converter(DType::bool_, dtype)(truth, 1, from + i * stride * item, stride, n_run);
      converter(acc, DType::bool_)(to + i * width, 1, truth, 1, n_run);
    }
    return;
  }
  converter(acc, dtype)(to, 1, from, stride, count);
  if (prepare == Prepare::none) return;
  if (acc == DType::f32) prepare_values(prepare, reinterpret_cast<float*>(to), count);
  else if (acc == DType::f64) prepare_values(prepare, reinterpret_cast<double*>(to), count);
  else prepare_values(prepare, reinterpret_cast<int64_t*>(to), count);
}

void ReducePlan::gather(void* to, int64_t kept, int64_t first, int64_t count) const {
  char* out = static_cast<char*>(to);
  const int64_t width = static_cast<int64_t>(itemsize(acc));
  if (reduced_sizes.size() == 1) return take(out, base + (kept + first * reduced_strides[0]) * item, reduced_strides[0], count);
  Cursor at(reduced_sizes, reduced_strides, first);
  at.take(count, [&](int64_t offset, int64_t stride, int64_t run) {
    take(out, base + (kept + offset) * item, stride, run);
    out += run * width;
  });
}

void ReducePlan::gather_columns(void* to, int64_t kept, int64_t first, int64_t count, int64_t columns, int64_t width) const {
  char* out = static_cast<char*>(to);
  const int64_t bytes = width * static_cast<int64_t>(itemsize(acc));
  Cursor at(reduced_sizes, reduced_strides, first);
  at.take(count, [&](int64_t offset, int64_t stride, int64_t run) {
    for (int64_t i = 0; i < run; ++i, out += bytes) take(out, base + (kept + offset + i * stride) * item, 1, columns);
  });
}

}  // namespace weft::cpu
