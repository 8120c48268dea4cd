#include "core/ops/copy.h"

#include <algorithm>
#include <cstring>

#include "core/parallel.h"
#include "kernels/cpu/convert.h"
#include "kernels/cpu/stream.h"
#include "kernels/cpu/strided.h"
#include "kernels/cpu/transpose.h"

namespace weft::cpu {
namespace {

constexpr int64_t kGrain = 32768;

// Source and destination run through memory along different dimensions (a transposed copy): block by block, so that
// every line of memory is read and written once. In a block a line of the source is `across`, and from each source line
// one cache line is taken before the next ones: then the rows of the destination are written in long runs (measured:
// twice as fast for strides of powers of two, which share a few cache sets).
void copy_crossed(const StridedLoop<2>& shape, int across, char* dst, const char* src, int64_t item) {
  constexpr int64_t kInner = 128, kAcross = 512;
  const int last = shape.sizes.size() - 1;
  const int64_t rows = shape.sizes[across], cols = shape.inner(), strip = 64 / item;
  const int64_t read = shape.strides[1][last], write = shape.strides[0][across];
  const int64_t inner_blocks = (cols + kInner - 1) / kInner, blocks = (rows + kAcross - 1) / kAcross * inner_blocks;
  Dims outer = shape.sizes;
  outer[across] = outer[last] = 1;
  // Rows a multiple of 4 KiB apart push each other out of the caches before they are whole.
  const bool past_caches = streams(2 * shape.numel * item) || (rows > 16 && write * item % 4096 == 0);
  const int64_t grain = std::max<int64_t>(1, kGrain / (std::min(rows, kAcross) * std::min(cols, kInner)));
  parallel_for(shape.numel / (rows * cols) * blocks, grain, [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t column = piece % inner_blocks * kInner, row = piece % blocks / inner_blocks * kAcross;
      int64_t to = row * write + column, from = row + column * read, index = piece / blocks;
      for (int d = last; d >= 0; --d) {
        to += index % outer[d] * shape.strides[0][d];
        from += index % outer[d] * shape.strides[1][d];
        index /= outer[d];
      }
      const int64_t height = std::min(kAcross, rows - row), width = std::min(kInner, cols - column);
      for (int64_t j = 0; j < height; j += strip)
        transpose_bytes(src + (from + j) * item, read, dst + (to + j * write) * item, write, width,
                        std::min(strip, height - j), item, past_caches);
    }
    if (past_caches) streamed();
  });
}

void copy_any(const Tensor& dst, const Tensor& src) {
  const int64_t n = dst.numel();
  if (n == 0) return;
  ConvertFn convert = converter(dst.dtype(), src.dtype());
  char* d = static_cast<char*>(dst.data_ptr());
  const char* s = static_cast<const char*>(src.data_ptr());
  const int64_t dw = static_cast<int64_t>(itemsize(dst.dtype())), sw = static_cast<int64_t>(itemsize(src.dtype()));
  const Dims* sizes[2] = {&dst.sizes(), &src.sizes()};
  const Dims* strides[2] = {&dst.strides(), &src.strides()};
  StridedLoop<2> shape(dst.sizes(), 2, sizes, strides);
  if (dst.dtype() == src.dtype() && shape.strides[0].back() == 1)
    if (int across = shape.crossed(1); across >= 0) return copy_crossed(shape, across, d, s, dw);
  parallel_for(n, grain_of(n, kGrain), [&](int64_t begin, int64_t end) {
    // Both walk the same runs: the inner dimension is common, so that one cursor can drive the other.
    Cursor to(shape.sizes, shape.strides[0], begin), from(shape.sizes, shape.strides[1], begin);
    int64_t at = begin;
    const int64_t inner = shape.inner();
    while (at < end) {
      int64_t run = std::min(end - at, inner - at % inner);
      to.take(run, [&](int64_t to_offset, int64_t to_stride, int64_t count) {
        from.take(count, [&](int64_t from_offset, int64_t from_stride, int64_t same) {
          convert(d + to_offset * dw, to_stride, s + from_offset * sw, from_stride, same);
        });
      });
      at += run;
    }
  });
}

bool overlap(const Tensor& a, const Tensor& b) { return a.shares_storage_with(b); }

}  // namespace

void copy(const OpCall& c) {
  const Tensor& src = c.in[c.n_in - 1];
  const Tensor& dst = c.out[0];
  if (overlap(dst, src) &&
      !(dst.data_ptr() == src.data_ptr() && dst.strides() == src.strides() && dst.dtype() == src.dtype())) {
    Tensor stable = weft::detail::allocate(src.sizes(), src.dtype(), src.device());
    copy_any(stable, src);
    copy_any(dst, stable);
  } else {
    copy_any(dst, src);
  }
}

void fill(const OpCall& c) {
  const Tensor& out = c.out[0];
  const Scalar& v = c.as<FillOp::Attrs>().value;
  if (out.impl()->contiguous && !v.truth() && !(v.is_floating() && __builtin_signbit(v.f64()))) {
    char* d = static_cast<char*>(out.data_ptr());
    parallel_for(static_cast<int64_t>(out.nbytes()), kGrain * 8,
                 [&](int64_t begin, int64_t end) { std::memset(d + begin, 0, static_cast<size_t>(end - begin)); });
    return;
  }
  alignas(8) char one[8];
  if (v.is_floating()) {
    double x = v.f64();
    converter(out.dtype(), DType::f64)(one, 1, &x, 1, 1);
  } else {
    int64_t x = v.i64();
    converter(out.dtype(), DType::i64)(one, 1, &x, 1, 1);
  }
  const int64_t n = out.numel(), w = static_cast<int64_t>(itemsize(out.dtype()));
  if (n == 0) return;
  ConvertFn same = converter(out.dtype(), out.dtype());
  const Dims* sizes[1] = {&out.sizes()};
  const Dims* strides[1] = {&out.strides()};
  StridedLoop<1> shape(out.sizes(), 1, sizes, strides);
  char* d = static_cast<char*>(out.data_ptr());
  parallel_for(n, kGrain, [&](int64_t begin, int64_t end) {
    Cursor at(shape.sizes, shape.strides[0], begin);
    at.take(end - begin,
            [&](int64_t offset, int64_t stride, int64_t count) { same(d + offset * w, stride, one, 0, count); });
  });
}

}  // namespace weft::cpu
