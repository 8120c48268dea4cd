#pragma once
// Products of a few rows with a matrix that is used once a time step: packed once, then read in blocks of columns that
// one piece of work finishes with its nonlinearities while they are in the first cache.
#include <algorithm>
#include <vector>

#include "core/parallel.h"
#include "kernels/cpu/hold.h"
#include "kernels/cpu/vec.h"

namespace weft::cpu {

/// Rows of a register tile: with 4 vectors each it fills the register file.
inline constexpr int kTileRows = kRegisters == 32 ? 6 : 2;

/// B of C[rows, gates * units] = A[rows, k] B, as blocks of V vectors of columns: one vector of every gate if there are
/// several gates (V = gates), else V neighbouring ones. Columns past the end are zeros.
template <class T, int V>
class Panels {
 public:
  static constexpr int kWide = V * kLanes<T>;

  /// Element (column, j) of B is w[column * column_stride + j * k_stride]; one of the strides is 1.
  Panels(const T* w, int64_t gates, int64_t units, int64_t k, int64_t column_stride, int64_t k_stride)
      : units_(units),
        k_(k),
        step_(gates > 1 ? kLanes<T> : kWide),
        blocks_((units + step_ - 1) / step_),
        values_(static_cast<size_t>(blocks_ * k * kWide + 2 * kLanes<T>)) {
    T* to = panel(0);
    parallel_for(blocks_, 1, [=, this](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b)
        for (int v = 0; v < V; ++v) {
          const int64_t unit = b * step_ + (gates > 1 ? 0 : v * kLanes<T>);
          const int64_t count = std::clamp<int64_t>(units - unit, 0, kLanes<T>);
          const T* from = w + ((gates > 1 ? v * units : 0) + unit) * column_stride;
          T* out = to + b * k * kWide + v * kLanes<T>;
          if (count == 0) continue;
          if (k_stride == 1)
            transpose(from, column_stride, out, kWide, count, k);
          else
            for (int64_t j = 0; j < k; ++j) store(out + j * kWide, load_first(from + j * k_stride, count));
        }
    });
  }

  int64_t blocks() const { return blocks_; }
  int64_t k() const { return k_; }
  /// Units of block b: [first(b), first(b) + count(b)).
  int64_t first(int64_t b) const { return b * step_; }
  int64_t count(int64_t b) const { return std::min(step_, units_ - b * step_); }

  /// Calls f(row, count, tile) until all `rows` are done: the product for rows [row, row + count), kWide values each.
  /// soon(row) comes before the product of a tile, for every row of it: time to fetch what f will read.
  template <class F, class Soon>
  void multiply(int64_t b, const T* a, int64_t rows, F f, Soon soon) const {
    const int64_t tiles = (rows + kTileRows - 1) / kTileRows;
    alignas(kVectorBytes) T tile[kTileRows * kWide];
    for (int64_t i = 0, row = 0; i < tiles; ++i) {
      const int64_t count = (rows - row + tiles - i - 1) / (tiles - i);
      for (int64_t r = row; r < row + count; ++r) soon(r);
      few_rows<kTileRows>(a + row * k_, count, panel(b), tile);
      f(row, static_cast<int>(count), tile);
      row += count;
    }
  }
  template <class F>
  void multiply(int64_t b, const T* a, int64_t rows, F f) const {
    multiply(b, a, rows, f, [](int64_t) {});
  }

 private:
  T* panel(int64_t b) { return values_.data() + offset() + b * k_ * kWide; }
  const T* panel(int64_t b) const { return values_.data() + offset() + b * k_ * kWide; }
  // Aligned to a vector: one that crosses a cache line costs two loads.
  int64_t offset() const {
    const auto at = reinterpret_cast<uintptr_t>(values_.data()) % kVectorBytes;
    return at == 0 ? 0 : static_cast<int64_t>((kVectorBytes - at) / sizeof(T));
  }

  template <int R>
  void few_rows(const T* a, int64_t rows, const T* panel, T* tile) const {
    if constexpr (R > 0) {
      if (rows < R) return few_rows<R - 1>(a, rows, panel, tile);
      Vec<T> sum[R][V] = {};
      for (int64_t j = 0; j < k_; ++j) {
        Vec<T> b[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) {
          b[v] = load(panel + j * kWide + v * kLanes<T>);
          hold(b[v]);
        }
#pragma GCC unroll 6
        for (int r = 0; r < R; ++r) {
          const Vec<T> x = splat<T>(a[r * k_ + j]);
#pragma GCC unroll 4
          for (int v = 0; v < V; ++v) sum[r][v] = fma<T>(x, b[v], sum[r][v]);
        }
      }
#pragma GCC unroll 6
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) store(tile + r * kWide + v * kLanes<T>, sum[r][v]);
    }
  }

  int64_t units_, k_, step_, blocks_;
  std::vector<T> values_;
};

}  // namespace weft::cpu
