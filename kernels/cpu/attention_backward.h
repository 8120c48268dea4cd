#pragma once
// Included by attention_*.cpp only.
#include "kernels/cpu/attention_common.h"

namespace weft::kernels {
namespace {

inline constexpr int64_t kBackwardKeys = 256;

/// Gradients of one (batch, kv head): blocks of keys, within them the query heads that share the keys, within them
/// blocks of rows. With P = softmax(scale q k^T), per block:
///   dv += P^T dout,  dS = P (dout v^T - delta),  dq += scale dS k,  dk += scale dS^T q,  delta = sum(dout out).
template <class K>
class BackwardHead {
  using T = typename K::Acc;
  using S = typename K::Source;
  static constexpr bool kWidens = !std::is_same_v<S, T>;

 public:
  BackwardHead(const Attention& a, const AttentionOperand& grad_out, const AttentionOperand& out, const T* lse,
               const AttentionResult& grad_q, const AttentionResult& grad_k, const AttentionResult& grad_v,
               int64_t batch, int64_t kv)
      : a_(a),
        grad_out_(grad_out),
        out_(out),
        lse_(lse),
        grad_q_(grad_q),
        grad_k_(grad_k),
        grad_v_(grad_v),
        batch_(batch),
        kv_(kv),
        group_(a.heads / a.kv_heads) {
    mr_ = tile_rows<T>(a.tq);
    rows_ = mr_ * std::max<int64_t>(1, 64 / mr_);
    const int64_t block = std::min(kBackwardKeys, (a.tk + 31) / 32 * 32);
    ld_ = block + 32;
    const int64_t wide = group_ * a.tq;
    const int64_t counts[] = {block * a.d + kPanelSlack,   // keys
                              block * a.dv + kPanelSlack,  // values
                              rows_ * ld_,                 // P
                              rows_ * ld_,                 // dS
                              block * a.d,                 // dk
                              block * a.dv,                // dv
                              wide,                        // delta
                              kWidens ? block * a.d : 0,   // k widened
                              kWidens ? wide * a.d : 0,    // q widened
                              kWidens ? wide * a.dv : 0,   // dout widened
                              kWidens ? wide * a.d : 0,    // dq
                              kWidens ? a.dv : 0};         // one row of out
    int64_t total = 0;
    for (int64_t count : counts) total += count;
    T* next = static_cast<T*>(workspace<0>((total + 1) * sizeof(T)));
    T** rooms[] = {&keys_,  &values_, &p_,      &ds_,        &dk_,      &dv_,
                   &delta_, &k_room_, &q_room_, &dout_room_, &dq_room_, &out_room_};
    for (size_t i = 0; i < std::size(rooms); ++i) {
      *rooms[i] = next;
      next += counts[i];
    }
  }

  void run() {
    for (int64_t g = 0; g < group_; ++g) prepare(g);
    for (int64_t first = 0; first < a_.tk; first += kBackwardKeys) {
      key_block(first, std::min(kBackwardKeys, a_.tk - first));
    }
    for (int64_t g = 0; g < group_; ++g) finish_queries(g);
  }

 private:
  int64_t head(int64_t g) const { return kv_ * group_ + g; }

  Rows<const T> queries(int64_t g) const {
    if constexpr (kWidens) {
      return {q_room_ + g * a_.tq * a_.d, a_.d};
    } else {
      return {matrix<S>(a_.q, batch_, head(g)), a_.q.time_stride};
    }
  }
  Rows<const T> douts(int64_t g) const {
    if constexpr (kWidens) {
      return {dout_room_ + g * a_.tq * a_.dv, a_.dv};
    } else {
      return {matrix<S>(grad_out_, batch_, head(g)), grad_out_.time_stride};
    }
  }
  Rows<T> dqueries(int64_t g) const {
    if constexpr (kWidens) {
      return {dq_room_ + g * a_.tq * a_.d, a_.d};
    } else {
      return {matrix<S>(grad_q_, batch_, head(g)), grad_q_.time_stride};
    }
  }

  void prepare(int64_t g) {
    if constexpr (kWidens) {
      rows_of<K>(a_.q, batch_, head(g), 0, a_.tq, a_.d, q_room_ + g * a_.tq * a_.d);
      rows_of<K>(grad_out_, batch_, head(g), 0, a_.tq, a_.dv, dout_room_ + g * a_.tq * a_.dv);
    }
    const auto dout = douts(g);
    const auto dq = dqueries(g);
    for (int64_t r = 0; r < a_.tq; ++r) {
      delta_[g * a_.tq + r] =
          row_dot<T>(dout[r], rows_of<K>(out_, batch_, head(g), r, r + 1, a_.dv, out_room_)[0], a_.dv);
      std::fill_n(dq[r], a_.d, T(0));
    }
  }

  void key_block(int64_t first, int64_t count) {
    pack_keys<K>(a_.k, batch_, kv_, first, first + count, a_.d, keys_);
    pack_keys<K>(a_.v, batch_, kv_, first, first + count, a_.dv, values_);
    const auto k = rows_of<K>(a_.k, batch_, kv_, first, first + count, a_.d, k_room_);
    std::fill_n(dk_, count * a_.d, T(0));
    std::fill_n(dv_, count * a_.dv, T(0));
    for (int64_t g = 0; g < group_; ++g) {
      const int64_t from = a_.causal ? first / rows_ * rows_ : 0;  // earlier rows see none of these keys
      for (int64_t row = from; row < a_.tq; row += rows_) {
        row_block(g, k, row, std::min(rows_, a_.tq - row), first, count);
      }
    }
    S* dk = matrix<S>(grad_k_, batch_, kv_) + first * grad_k_.time_stride;
    S* dv = matrix<S>(grad_v_, batch_, kv_) + first * grad_v_.time_stride;
    for (int64_t j = 0; j < count; ++j) {
      for (int64_t i = 0; i < a_.d; ++i) dk[j * grad_k_.time_stride + i] = K::round(dk_[j * a_.d + i]);
      for (int64_t i = 0; i < a_.dv; ++i) dv[j * grad_v_.time_stride + i] = K::round(dv_[j * a_.dv + i]);
    }
  }

  void row_block(int64_t g, Rows<const T> k, int64_t row, int64_t rows, int64_t first, int64_t count) {
    const auto q = queries(g), dout = douts(g);
    const auto dq = dqueries(g);
    const T scale = static_cast<T>(a_.scale);
    const int64_t widest = a_.causal ? std::clamp<int64_t>(row + rows - first, 0, count) : count;
    if (widest == 0) return;
    for (int64_t t = 0; t < rows; t += mr_) {
      const int64_t n = std::min(mr_, rows - t);
      const int64_t width = a_.causal ? std::clamp<int64_t>(row + t + n - first, 0, count) : count;
      T *p = p_ + t * ld_, *ds = ds_ + t * ld_;
      if (width > 0) {
        key_product<T>(n, width, a_.d, q[row + t], q.stride, keys_, p, ld_, T(a_.scale * kLog2E));
        key_product<T>(n, width, a_.dv, dout[row + t], dout.stride, values_, ds, ld_, T(1));
      }
      for (int64_t i = 0; i < n; ++i) {
        const int64_t r = row + t + i, valid = a_.causal ? std::clamp<int64_t>(r + 1 - first, 0, count) : count;
        softmax_row(g, r, first, valid, p + i * ld_, ds + i * ld_);
        std::fill(p + i * ld_ + valid, p + i * ld_ + widest, T(0));
        std::fill(ds + i * ld_ + valid, ds + i * ld_ + widest, T(0));
      }
      if (width > 0) tile_product<T>(n, a_.d, width, ds, ld_, 1, k[0], k.stride, dq[row + t], dq.stride, scale, true);
    }
    for (int64_t j = 0; j < widest; j += Simd<T>::kMr) {
      const int64_t n = std::min<int64_t>(Simd<T>::kMr, widest - j);
      const int64_t skip =
          a_.causal ? std::clamp<int64_t>(first + j - row, 0, rows) : 0;  // rows that see no key of the tile
      tile_product<T>(n, a_.dv, rows - skip, p_ + skip * ld_ + j, 1, ld_, dout[row + skip], dout.stride,
                      dv_ + j * a_.dv, a_.dv, T(1), true);
      tile_product<T>(n, a_.d, rows - skip, ds_ + skip * ld_ + j, 1, ld_, q[row + skip], q.stride, dk_ + j * a_.d, a_.d,
                      scale, true);
    }
  }

  // p: scores -> probabilities; ds: dout v^T -> dS.
  void softmax_row(int64_t g, int64_t r, int64_t first, int64_t valid, T* p, T* ds) const {
    const T lse = lse_[head(g) * a_.tq + r];
    if (lse == -std::numeric_limits<T>::infinity()) {
      std::fill_n(p, valid, T(0));
      std::fill_n(ds, valid, T(0));
      return;
    }
    if (a_.mask) add_mask<K>(a_, batch_, head(g), r, first, valid, p);
    exp2_row(p, valid, lse * T(kLog2E));
    const T delta = delta_[g * a_.tq + r];
    for (int64_t j = 0; j < valid; ++j) ds[j] = p[j] * (ds[j] - delta);
  }

  void finish_queries(int64_t g) {
    if constexpr (kWidens) {
      const auto dq = dqueries(g);
      S* to = matrix<S>(grad_q_, batch_, head(g));
      for (int64_t r = 0; r < a_.tq; ++r) {
        for (int64_t i = 0; i < a_.d; ++i) to[r * grad_q_.time_stride + i] = K::round(dq[r][i]);
      }
    }
  }

  const Attention& a_;
  const AttentionOperand &grad_out_, &out_;
  const T* lse_;  // of this batch
  const AttentionResult &grad_q_, &grad_k_, &grad_v_;
  int64_t batch_, kv_, group_, mr_, rows_, ld_;
  T *keys_, *values_, *p_, *ds_, *dk_, *dv_, *delta_, *k_room_, *q_room_, *dout_room_, *dq_room_, *out_room_;
};

template <class K>
void run_backward(const Attention& a, const AttentionOperand& grad_out, const AttentionOperand& out, const void* lse,
                  const AttentionResult& grad_q, const AttentionResult& grad_k, const AttentionResult& grad_v) {
  using T = typename K::Acc;
  const int64_t work = 2 * a.tq * a.tk * (a.d + a.dv) * (a.heads / a.kv_heads) + 1;
  parallel_for(a.batch * a.kv_heads, std::max<int64_t>(1, kAttentionWork / work), [&](int64_t b, int64_t e) {
    for (int64_t i = b; i < e; ++i) {
      const int64_t batch = i / a.kv_heads;
      BackwardHead<K>(a, grad_out, out, static_cast<const T*>(lse) + batch * a.heads * a.tq, grad_q, grad_k, grad_v,
                      batch, i % a.kv_heads)
          .run();
    }
  });
}

}  // namespace
}  // namespace weft::kernels
