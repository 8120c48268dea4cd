#pragma once
// Moving convolution operands between user layouts and the packed forms of conv_tiles.h.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/cpu/copy_matrix.h"
#include "kernels/cpu/scratch.h"

namespace weft::cpu::conv {

/// How the columns of an input row are packed: column `first + residue[r] + step * j` is element j of residue r.
/// Columns outside [0, size) are zero.
struct RowPlan {
  int64_t size = 0, first = 0, step = 1, width = 0;
  std::vector<int64_t> residue;
  int64_t channels = 0, block = 1;  // block channels side by side: 1 (planar) or a whole vector
  int64_t pitch() const { return int64_t(residue.size()) * width * block; }  // from one block of channels to the next
  int64_t elements() const { return pitch() * (channels / block); }
};

/// Packs one input row; src is column 0 of channel 0.
template <class T, class S>
void pack_row(const RowPlan& p, const S* src, int64_t channel_stride, int64_t col_stride, T* dst) {
  for (int64_t c0 = 0; c0 < p.channels; c0 += p.block)
    for (size_t r = 0; r < p.residue.size(); ++r, dst += p.width * p.block) {
      const int64_t start = p.first + p.residue[r];
      const int64_t lo = std::clamp<int64_t>(start >= 0 ? 0 : (-start + p.step - 1) / p.step, 0, p.width);
      const int64_t hi = std::clamp<int64_t>(start >= p.size ? 0 : (p.size - start + p.step - 1) / p.step, lo, p.width);
      std::fill_n(dst, lo * p.block, T(0));
      std::fill_n(dst + hi * p.block, (p.width - hi) * p.block, T(0));
      const S* from = src + c0 * channel_stride + (start + lo * p.step) * col_stride;
      if (p.block == 1) {
        copy_matrix<T, S>({from, 0, p.step * col_stride}, {dst + lo, 0, 1}, 1, hi - lo);
      } else if (channel_stride != 1) {
        // Transposed as a whole; of a strided row then only the columns in use are kept.
        const int64_t columns = hi > lo ? (hi - lo - 1) * p.step + 1 : 0;
        T* whole = p.step == 1 ? dst + lo * p.block : scratch<T>(Scratch::left, columns * p.block);
        copy_matrix<T, S>({from, channel_stride, col_stride}, {whole, 1, p.block}, p.block, columns);
        for (int64_t j = lo; p.step != 1 && j < hi; ++j)
          std::copy_n(whole + (j - lo) * p.step * p.block, p.block, dst + j * p.block);
      } else {
        constexpr int n = kLanes<T>;
        for (int64_t j = lo; j < hi; ++j, from += p.step * col_stride) {
          T* to = dst + j * n;
          if constexpr (std::is_same_v<T, S>) {
            store(to, load(from));
          } else {
            for (int i = 0; i < n; ++i) to[i] = widen<T>(from[i]);
          }
        }
      }
    }
}

}  // namespace weft::cpu::conv
