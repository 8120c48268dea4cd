#pragma once
#include <algorithm>
#include <cstdint>

#include "core/dims.h"

namespace weft::cpu {

/// Walks up to N operands of one broadcast shape in the memory order of operand 0. Sizes of 1 are dropped and
/// dimensions that are contiguous for every operand are merged, so that the last dimension is as long as possible.
template <int N>
struct StridedLoop {
  Dims sizes;
  Dims strides[N];  ///< in elements; 0 where broadcast
  int64_t numel = 1;

  /// operand_sizes may have fewer dimensions than `shape` or 1s: broadcast.
  StridedLoop(const Dims& shape, int n, const Dims* const* operand_sizes, const Dims* const* operand_strides) {
    int order[kMaxDims];
    int nd = 0;
    for (int d = 0; d < shape.size(); ++d) {
      numel *= shape[d];
      if (shape[d] != 1) order[nd++] = d;
    }
    // By falling stride of operand 0 (stable insertion sort); broadcast dimensions of operand 0 keep their place.
    const Dims& lead = *operand_strides[0];
    int shift = shape.size() - lead.size();
    auto lead_stride = [&](int d) { return d < shift ? int64_t{0} : lead[d - shift]; };
    for (int i = 1; i < nd; ++i)
      for (int j = i; j > 0 && lead_stride(order[j]) > lead_stride(order[j - 1]) && lead_stride(order[j - 1]) != 0; --j)
        std::swap(order[j], order[j - 1]);
    for (int i = 0; i < nd; ++i) {
      int d = order[i];
      int64_t step[N];
      bool merge = !sizes.empty();
      for (int k = 0; k < n; ++k) {
        int off = shape.size() - operand_sizes[k]->size();
        step[k] = d < off || (*operand_sizes[k])[d - off] == 1 ? 0 : (*operand_strides[k])[d - off];
        if (merge && strides[k].back() != step[k] * shape[d]) merge = false;
      }
      if (merge) {
        sizes.back() *= shape[d];
        for (int k = 0; k < n; ++k) strides[k].back() = step[k];
      } else {
        sizes.push_back(shape[d]);
        for (int k = 0; k < n; ++k) strides[k].push_back(step[k]);
      }
    }
    if (sizes.empty()) {
      sizes.push_back(1);
      for (int k = 0; k < n; ++k) strides[k].push_back(1);
    }
  }

  int64_t inner() const { return sizes.back(); }
  /// Operand k is one run of memory in loop order.
  bool linear(int k) const {
    int64_t step = 1;
    for (int d = sizes.size() - 1; d >= 0; --d) {
      if (strides[k][d] != step) return false;
      step *= sizes[d];
    }
    return true;
  }
  /// The dimension along which operand k runs through memory where that is not the last one and both are long enough
  /// to go by blocks; -1: there is none.
  int crossed(int k) const {
    constexpr int64_t kShort = 16;
    const int last = sizes.size() - 1;
    if (strides[k][last] == 1 || strides[k][last] == 0 || sizes[last] < kShort) return -1;
    for (int d = last - 1; d >= 0; --d)
      if (strides[k][d] == 1 && sizes[d] >= kShort) return d;
    return -1;
  }
  /// Operand k is one value.
  bool single(int k) const {
    for (int64_t s : strides[k])
      if (s != 0) return false;
    return true;
  }
};

/// A position in a StridedLoop for one operand: begin at element `start`, then take runs.
class Cursor {
 public:
  Cursor(const Dims& sizes, const Dims& strides, int64_t start) : sizes_(sizes), strides_(strides) {
    for (int d = sizes.size() - 1; d >= 0; --d) {
      at_[d] = start % sizes[d];
      start /= sizes[d];
      offset_ += at_[d] * strides[d];
    }
  }
  /// Calls f(offset, stride, count) for the next `n` elements, in runs along the last dimension.
  template <class F>
  void take(int64_t n, F&& f) {
    const int last = sizes_.size() - 1;
    while (n > 0) {
      int64_t run = std::min(n, sizes_[last] - at_[last]);
      f(offset_, strides_[last], run);
      n -= run;
      at_[last] += run;
      offset_ += run * strides_[last];
      for (int d = last; d > 0 && at_[d] == sizes_[d]; --d) {
        offset_ += strides_[d - 1] - at_[d] * strides_[d];
        at_[d] = 0;
        ++at_[d - 1];
      }
    }
  }

 private:
  const Dims& sizes_;
  const Dims& strides_;
  int64_t at_[kMaxDims] = {};
  int64_t offset_ = 0;
};

}  // namespace weft::cpu
