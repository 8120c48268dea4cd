#pragma once
// Included by attention_*.cpp only.
#include "kernels/cpu/attention_common.h"

namespace weft::kernels {
namespace {

inline constexpr int64_t kForwardChunk = 256;  // rows of q that share the packed keys
inline constexpr int64_t kForwardKeys = 1024;  // keys per pass over the rows

template <class K>
class ForwardChunk {
  using T = typename K::Acc;
  using S = typename K::Source;

 public:
  ForwardChunk(const Attention& a, const AttentionResult& out, T* lse, int64_t batch, int64_t head, int64_t begin,
               int64_t end)
      : a_(a), out_(out), lse_(lse), batch_(batch), head_(head), begin_(begin), end_(end) {
    const int64_t kv = head / (a.heads / a.kv_heads);
    keys_ = a.causal ? std::min(a.tk, end) : a.tk;
    mr_ = tile_rows<T>(std::min(end - begin, kForwardChunk));
    ld_ = std::min(kForwardKeys, (keys_ + 31) / 32 * 32) + 32;
    const int64_t panels = (keys_ + 31) / 32 * 32 * a.d,
                  widened = std::is_same_v<S, T> ? 0 : keys_ * a.dv + 2 * mr_ * a.d;
    T* room = static_cast<T*>(
        workspace<0>((panels + kPanelSlack + widened + 2 * mr_ * (ld_ + a.dv + 2) + kPanelSlack) * sizeof(T)));
    panels_ = room;
    scores_ = panels_ + panels + kPanelSlack;
    sums_ = scores_ + 2 * mr_ * ld_;
    largest_ = sums_ + 2 * mr_ * a.dv;
    total_ = largest_ + 2 * mr_;
    T* wide = total_ + 2 * mr_;
    pack_keys<K>(a.k, batch, kv, 0, keys_, a.d, panels_);
    values_ = rows_of<K>(a.v, batch, kv, 0, keys_, a.dv, wide);
    query_room_ = wide + keys_ * a.dv;
  }

  void run() {
    for (int64_t row = begin_; row < end_; row += 2 * mr_) block(row, std::min(2 * mr_, end_ - row));
  }

 private:
  // Keys [first, ..) of this pass that the tile of rows [row, row + rows) sees.
  int64_t seen(int64_t row, int64_t rows, int64_t first, int64_t count) const {
    return a_.causal ? std::clamp<int64_t>(row + rows - first, 0, count) : count;
  }

  void block(int64_t row, int64_t rows) {
    const auto q = rows_of<K>(a_.q, batch_, head_, row, row + rows, a_.d, query_room_);
    std::fill_n(largest_, rows, -std::numeric_limits<T>::infinity());
    std::fill_n(total_, rows, T(0));
    std::fill_n(sums_, rows * a_.dv, T(0));
    const int64_t keys = a_.causal ? std::min(keys_, row + rows) : keys_;
    for (int64_t first = 0; first < keys; first += kForwardKeys) {
      const int64_t count = std::min(kForwardKeys, keys - first);
      for (int64_t t = 0; t < rows; t += mr_) {
        const int64_t n = std::min(mr_, rows - t), width = seen(row + t, n, first, count);
        if (width == 0) continue;
        T* s = scores_ + t * ld_;
        key_product<T>(n, width, a_.d, q[t], q.stride, panels_ + first * a_.d, s, ld_, T(a_.scale * kLog2E));
        for (int64_t i = 0; i < n; ++i)
          softmax_row(row + t + i, t + i, first, seen(row + t + i, 1, first, count), width);
        tile_product<T>(n, a_.dv, width, s, ld_, 1, values_[first], values_.stride, sums_ + t * a_.dv, a_.dv, T(1),
                        first != 0);
      }
    }
    for (int64_t i = 0; i < rows; ++i) finish(row + i, i);
  }

  // scores -> 2^(scores - largest so far); earlier sums are scaled to the new largest.
  void softmax_row(int64_t row, int64_t i, int64_t first, int64_t valid, int64_t width) {
    T* s = scores_ + i * ld_;
    if (a_.mask) add_mask<K>(a_, batch_, head_, row, first, valid, s);
    const T largest = std::max(largest_[i], row_max(s, valid));
    const T pivot = largest == -std::numeric_limits<T>::infinity() ? T(0) : largest;
    const T sum = exp2_row(s, valid, pivot);
    std::fill(s + valid, s + width, T(0));
    if (first != 0) {
      const T keep = std::exp2(largest_[i] - pivot);
      for (int64_t j = 0; j < a_.dv; ++j) sums_[i * a_.dv + j] *= keep;
      total_[i] *= keep;
    }
    total_[i] += sum;
    largest_[i] = largest;
  }

  void finish(int64_t row, int64_t i) {
    S* to = matrix<S>(out_, batch_, head_) + row * out_.time_stride;
    const bool none = total_[i] == 0;
    const T inverse = none ? T(0) : T(1) / total_[i];
    for (int64_t j = 0; j < a_.dv; ++j) to[j] = K::round(sums_[i * a_.dv + j] * inverse);
    lse_[row] = none ? -std::numeric_limits<T>::infinity() : (largest_[i] + std::log2(total_[i])) * T(kLn2);
  }

  const Attention& a_;
  const AttentionResult& out_;
  T* lse_;  // of this head
  int64_t batch_, head_, begin_, end_, keys_, mr_, ld_;
  T *panels_, *scores_, *sums_, *largest_, *total_, *query_room_;
  Rows<const T> values_;
};

template <class K>
void run_forward(const Attention& a, const AttentionResult& out, void* lse) {
  using T = typename K::Acc;
  const int64_t chunks = (a.tq + kForwardChunk - 1) / kForwardChunk;
  const int64_t work = std::min(a.tq, kForwardChunk) * a.tk * (a.d + a.dv) + 1;
  parallel_for(a.batch * a.heads * chunks, std::max<int64_t>(1, kAttentionWork / work), [&](int64_t b, int64_t e) {
    for (int64_t i = b; i < e; ++i) {
      const int64_t matrix = i / chunks, begin = i % chunks * kForwardChunk;
      ForwardChunk<K>(a, out, static_cast<T*>(lse) + matrix * a.tq, matrix / a.heads, matrix % a.heads, begin,
                      std::min(a.tq, begin + kForwardChunk))
          .run();
    }
  });
}

}  // namespace
}  // namespace weft::kernels
