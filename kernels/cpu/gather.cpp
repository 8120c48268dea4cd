#include "core/ops/gather.h"

#include <algorithm>
#include <cstring>

#include "core/parallel.h"
#include "kernels/cpu/element.h"
#include "kernels/cpu/stream.h"
#include "kernels/cpu/strided.h"

namespace weft::cpu {
namespace {

constexpr int64_t kGrain = 16384;

// Lines along `dim` for three operands: index, x (any size along dim), y (index's shape).
struct Lines {
  StridedLoop<3> other;  // all dimensions but dim
  int64_t n, extent;
  int64_t step[3];

  static StridedLoop<3> without(const Tensor& index, const Tensor& x, const Tensor& y, int dim) {
    Dims shape = index.sizes(), strides[3] = {index.strides(), x.strides(), y.strides()};
    shape.erase(dim);
    const Dims* sizes[3] = {&shape, &shape, &shape};
    const Dims* at[3];
    for (int k = 0; k < 3; ++k) {
      strides[k].erase(dim);
      at[k] = &strides[k];
    }
    return StridedLoop<3>(shape, 3, sizes, at);
  }
  // Offsets of the first index, of its line of x and of the first y, and the steps to the next ones.
  struct Run {
    int64_t i, x, y, count, di, dx, dy;
  };

  Lines(const Tensor& index, const Tensor& x, const Tensor& y, int dim)
      : other(without(index, x, y, dim)),
        n(index.sizes()[dim]),
        extent(x.sizes()[dim]),
        step{index.strides()[dim], x.strides()[dim], y.strides()[dim]} {}

  // f(run) for runs of neighbours, in rising order along each line.
  template <class F>
  void run(F&& f) const {
    const int last = other.sizes.size() - 1;
    const int64_t width = other.sizes[last], w0 = other.strides[0][last], w1 = other.strides[1][last],
                  w2 = other.strides[2][last];
    // Neighbouring lines together where they lie closer in memory than the elements of one line.
    const bool across = width > 1 && w0 < step[0];
    parallel_for(other.numel, std::max<int64_t>(across ? 64 : 1, kGrain / std::max<int64_t>(n, 1)),
                 [&](int64_t begin, int64_t end) {
                   while (begin < end) {
                     int64_t at = begin % width, count = std::min(width - at, end - begin), rest = begin / width;
                     begin += count;
                     int64_t i = at * w0, x = at * w1, y = at * w2;
                     for (int d = last - 1; d >= 0; --d) {
                       int64_t k = rest % other.sizes[d];
                       rest /= other.sizes[d];
                       i += k * other.strides[0][d], x += k * other.strides[1][d], y += k * other.strides[2][d];
                     }
                     if (across) {
                       for (int64_t k = 0; k < n; ++k) f(Run{i + k * step[0], x, y + k * step[2], count, w0, w1, w2});
                     } else {
                       for (int64_t c = 0; c < count; ++c)
                         f(Run{i + c * w0, x + c * w1, y + c * w2, n, step[0], 0, step[2]});
                     }
                   }
                 });
  }
};

struct Checked {
  const int64_t* at;
  int64_t extent;
  const char* op;
  int dim;
  // kBlock neighbours at once.
  static constexpr int kBlock = 16;
  void check_block(int64_t from) const {
    unsigned wrong = 0;
    for (int i = 0; i < kBlock; ++i) wrong |= static_cast<uint64_t>(at[from + i]) >= static_cast<uint64_t>(extent);
    if (wrong)
      for (int i = 0; i < kBlock; ++i) (*this)[from + i];
  }
  int64_t operator[](int64_t i) const {
    int64_t v = at[i];
    WEFT_CHECK_INDEX(static_cast<uint64_t>(v) < static_cast<uint64_t>(extent),
                     "{}: index {} out of range for dim {} of size {}", op, v, dim, extent);
    return v;
  }
};

Tensor wide_index(const Tensor& t) { return t.dtype() == DType::i64 ? t : t.detach().to(DType::i64); }

// y[k] = x[index of k] for n neighbours. With `past_caches` whole lines of y are streamed.
template <class T>
void gather_line(const T* x, const Checked& index, int64_t from, T* y, int64_t n, bool past_caches) {
  constexpr int kBlock = Checked::kBlock;
  constexpr int64_t kBytes = kBlock * int64_t{sizeof(T)};
  past_caches = past_caches && reinterpret_cast<uintptr_t>(y) % kVectorBytes == 0 && kBytes % kVectorBytes == 0;
  int64_t k = 0;
  for (; k + kBlock <= n; k += kBlock) {
    index.check_block(from + k);
    alignas(64) T values[kBlock];
#pragma GCC unroll 16
    for (int i = 0; i < kBlock; ++i) values[i] = x[index.at[from + k + i]];
    if (past_caches)
      stream(y + k, values, kBytes);
    else
      std::memcpy(y + k, values, kBytes);
  }
  if (past_caches) streamed();
  for (; k < n; ++k) y[k] = x[index[from + k]];
}

}  // namespace

void gather(const OpCall& c) {
  if (c.out[0].numel() == 0) return;
  const int dim = c.as<GatherOp::Attrs>().dim;
  Tensor index = wide_index(c.in[1]);
  Lines lines(index, c.in[0], c.out[0], dim);
  for_width(c.in[0].dtype(), [&](auto type) {
    using T = typename decltype(type)::type;
    const T* x = static_cast<const T*>(c.in[0].data_ptr());
    T* y = static_cast<T*>(c.out[0].data_ptr());
    const int64_t step = lines.step[1];
    Checked at{index.data<int64_t>(), lines.extent, "gather", dim};
    const bool past_caches =
        streams(static_cast<int64_t>(c.in[0].nbytes() + c.out[0].nbytes()) + index.numel() * int64_t{sizeof(int64_t)});
    lines.run([=](const Lines::Run& r) {
      if (r.di == 1 && r.dy == 1 && r.dx == 0 && step == 1)
        return gather_line(x + r.x, at, r.i, y + r.y, r.count, past_caches);
      for (int64_t k = 0; k < r.count; ++k) y[r.y + k * r.dy] = x[r.x + k * r.dx + at[r.i + k * r.di] * step];
    });
  });
}

void scatter(const OpCall& c) {
  const auto& a = c.as<ScatterOp::Attrs>();
  Tensor index = wide_index(c.in[1]);
  Lines lines(index, c.out[0], c.in[2], a.dim);
  auto run = [&](auto type, auto combine) {
    using T = typename decltype(type)::type;
    T* x = static_cast<T*>(c.out[0].data_ptr());
    const T* y = static_cast<const T*>(c.in[2].data_ptr());
    const int64_t step = lines.step[1];
    Checked at{index.data<int64_t>(), lines.extent, c.op.name, a.dim};
    lines.run([=](const Lines::Run& r) {
      for (int64_t k = 0; k < r.count; ++k) {
        T& place = x[r.x + k * r.dx + at[r.i + k * r.di] * step];
        place = combine(place, y[r.y + k * r.dy]);
      }
    });
  };
  switch (a.mode) {
    case ScatterMode::set:
      return for_width(c.out[0].dtype(), [&](auto type) { run(type, [](auto, auto v) { return v; }); });
    case ScatterMode::add:
      return for_dtype(c.out[0].dtype(), [&](auto type) {
        using T = typename decltype(type)::type;
        run(type, [](T p, T v) {
          if constexpr (std::is_same_v<T, bool>)
            return p | v;
          else
            return narrow<T>(static_cast<Wide<T>>(widen(p) + widen(v)));
        });
      });
    case ScatterMode::multiply:
      return for_dtype(c.out[0].dtype(), [&](auto type) {
        using T = typename decltype(type)::type;
        run(type, [](T p, T v) {
          if constexpr (std::is_same_v<T, bool>)
            return p & v;
          else
            return narrow<T>(static_cast<Wide<T>>(widen(p) * widen(v)));
        });
      });
  }
}

}  // namespace weft::cpu
