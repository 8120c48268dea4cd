#include "core/ops/cross_entropy.h"

#include "core/error.h"
#include "kernels/cuda/allocator.h"
#include "kernels/cuda/fault.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/rows.cuh"

// nll_loss and cross_entropy over class indices: the bits of kernels/cpu/cross_entropy.cpp.
namespace weft::gpu {
namespace {

template <class T>
using Sum = reduction::Sum<T>;

template <class T>
struct LossArguments {
  const void* x;
  const i64* target;
  const T* weight;            // null: all 1
  const T* weight_total;      // null: the number of classes
  T* largest;                 // and the log of the sum, of each row
  T *losses, *weights;        // per row
  const T *gradient, *total;  // of the backward pass
  void* gx;
  i64 rows, n, inner, ignore_index;
  T smoothing, each;  // smoothing / n
  bool logits, smooths, per_row, mean;
  FaultSite fault;
};

constexpr int kLossThreads = 512;
constexpr size_t kMostStaged = kLargestShared - 1024;  // without what the kernel declares

template <class T>
WEFT_FN T weight_at(const LossArguments<T>& a, i64 k) {
  return a.weight ? a.weight[k] : T(1);
}
// The class of a row, or -1: it is left out.
template <class T>
__device__ __forceinline__ i64 class_of(const LossArguments<T>& a, i64 row) {
  i64 k = a.target[row];
  if (k == a.ignore_index) return -1;
  if (k < 0 || k >= a.n) {
    a.fault.report(k);
    k = 0;
  }
  return k;
}
// The loss of a row, by one of its threads; all: the sum over the classes of w (m - x + log sum).
template <class T>
WEFT_FN void finish_row(const LossArguments<T>& a, i64 row, i64 k, T x_k, T m, T log_sum, T all) {
  a.largest[2 * row] = m;
  a.largest[2 * row + 1] = log_sum;
  T loss = T(0), weight = T(0);
  if (k >= 0) {
    weight = weight_at(a, k);
    loss = weight * ((m - x_k) + log_sum);
    if (a.smooths) loss = (T(1) - a.smoothing) * loss + a.each * all;
  }
  a.losses[row] = loss;
  a.weights[row] = weight;
}

// A warp a row.
template <class S>
__global__ void __launch_bounds__(kThreads) warp_losses(LossArguments<Wide<S>> a) {
  using T = Wide<S>;
  const i64 row = i64(blockIdx.x) * (kThreads / 32) + threadIdx.x / 32;
  if (row >= a.rows) return;
  const S* x = static_cast<const S*>(a.x) + row * a.n;
  T m = T(0), log_sum = T(0), all = T(0);
  if (a.logits) {
    m = warp_block<Largest<T>, T>(a.n, [&](i64 i) { return load(x[i]); });
    log_sum = math::log(warp_block<Sum<T>, T>(a.n, [&](i64 i) { return weight_of(load(x[i]) - m); }));
  }
  if (a.smooths)
    all = warp_block<Sum<T>, T>(a.n, [&](i64 i) { return weight_at(a, i) * ((m - load(x[i])) + log_sum); });
  if (threadIdx.x % 32 != 0) return;
  const i64 k = class_of(a, row);
  finish_row(a, row, k, k < 0 ? T(0) : load(x[k]), m, log_sum, all);
}

// A thread block a row; Staged: the row (of logits) waits in shared memory.
template <class S, bool Staged>
__global__ void __launch_bounds__(kLossThreads) block_losses(LossArguments<Wide<S>> a) {
  using T = Wide<S>;
  constexpr int kCount = Pack<S>::kCount;
  WEFT_SHARED(T[32], shared);
  WEFT_DYNAMIC_SHARED(S, staged);
  const i64 row = blockIdx.x;
  const S* x = static_cast<const S*>(a.x) + row * a.n;
  T m = T(0), log_sum = T(0), all = T(0);
  // Staged rows keep their place within 16 bytes, so that whole packs move.
  const int shift = int(reinterpret_cast<u64>(x) % 16 / sizeof(S));
  if (a.logits) {
    const S* from = x - shift;
    T largest = Largest<T>::identity();
    const i64 end = shift + a.n, packs = (end + kCount - 1) / kCount;
#pragma unroll 4
    for (i64 p = threadIdx.x; p < packs; p += kLossThreads) {
      const i64 first = p * kCount;
      Pack<S> pack;
      if (first >= shift && first + kCount <= end) {
        pack = *reinterpret_cast<const Pack<S>*>(from + first);
      } else {
        for (int k = 0; k < kCount; ++k)
          pack.v[k] = first + k >= shift && first + k < end ? from[first + k] : store<S>(Largest<T>::identity());
      }
      if constexpr (Staged) *reinterpret_cast<Pack<S>*>(staged + first) = pack;
#pragma unroll
      for (int k = 0; k < kCount; ++k) largest = larger(largest, load(pack.v[k]));
    }
    const T mine = largest;
    m = block_unordered<Largest<T>, T>(kLossThreads, shared, [&](i64) { return mine; });
  }
  auto value = [&](i64 i) {
    if constexpr (Staged)
      return load(staged[shift + i]);
    else
      return load(x[i]);
  };
  if (a.logits) log_sum = math::log(block_row<Sum<T>, T>(a.n, shared, [&](i64 i) { return weight_of(value(i) - m); }));
  if (a.smooths)
    all = block_row<Sum<T>, T>(a.n, shared, [&](i64 i) { return weight_at(a, i) * ((m - value(i)) + log_sum); });
  if (threadIdx.x != 0) return;
  const i64 k = class_of(a, row);
  finish_row(a, row, k, k < 0 ? T(0) : value(k), m, log_sum, all);
}

template <class S>
__global__ void __launch_bounds__(kColumnThreads) column_losses(LossArguments<Wide<S>> a) {
  using T = Wide<S>;
  WEFT_SHARED(ColumnShared<T>, shared);
  const ColumnPlace at(a.rows, a.n, a.inner);
  const S* x = static_cast<const S*>(a.x) + at.base;
  auto value = [&](i64 i) { return load(x[i * a.inner]); };
  T m = T(0), log_sum = T(0), all = T(0);
  if (a.logits) {
    m = column_total<Largest<T>, T>(at, a.n, shared, value);
    log_sum = math::log(column_total<Sum<T>, T>(at, a.n, shared, [&](i64 i) { return weight_of(value(i) - m); }));
  }
  if (a.smooths)
    all = column_total<Sum<T>, T>(at, a.n, shared, [&](i64 i) { return weight_at(a, i) * ((m - value(i)) + log_sum); });
  if (!at.inside || at.lane != 0) return;
  const i64 k = class_of(a, at.row);
  finish_row(a, at.row, k, k < 0 ? T(0) : value(k), m, log_sum, all);
}

// ---- over the rows

// One result for every block of the order.
template <class T>
__global__ void __launch_bounds__(kThreads) block_totals(const T* losses, const T* weights, i64 n, T* results) {
  const i64 blocks = reduction::block_count(n), b = i64(blockIdx.x) * (kThreads / 32) + threadIdx.x / 32;
  if (b >= blocks) return;
  const i64 size = reduction::block_size(n, b), start = b * reduction::kBlock;
  const T loss = warp_block<Sum<T>, T>(size, [&](i64 i) { return losses[start + i]; });
  const T weight = warp_block<Sum<T>, T>(size, [&](i64 i) { return weights[start + i]; });
  if (threadIdx.x % 32 != 0) return;
  results[b] = loss;
  results[blocks + b] = weight;
}
// The sums over n values that are not cut any more; loss null: of the weights alone.
template <class T>
__global__ void finish_losses(const T* losses, const T* weights, i64 n, bool mean, void* loss, DType dtype, T* total) {
  const T sum = n ? warp_block<Sum<T>, T>(n, [&](i64 i) { return weights[i]; }) : T(0);
  T value = T(0);
  if (loss) value = n ? warp_block<Sum<T>, T>(n, [&](i64 i) { return losses[i]; }) : T(0);
  if (threadIdx.x != 0) return;
  if (total) *total = sum;
  if (loss) store_as(loss, 0, dtype, mean ? value / sum : value);
}
template <class T>
void over_rows(const T* losses, const T* weights, i64 n, bool mean, void* loss, DType dtype, T* total) {
  if (n <= reduction::kBlock)
    return launch(finish_losses<T>, dim3(1), 32, 0, current_stream(), losses, weights, n, mean, loss, dtype, total);
  const i64 blocks = reduction::block_count(n);
  const Workspace results(size_t(2 * blocks) * sizeof(T));
  launch(block_totals<T>, dim3(unsigned((blocks + kThreads / 32 - 1) / (kThreads / 32))), kThreads, 0, current_stream(),
         losses, weights, n, results.as<T>());
  launch(finish_losses<T>, dim3(1), 32, 0, current_stream(), results.as<T>(), results.as<T>() + blocks, blocks, mean,
         loss, dtype, total);
}

template <class S>
__global__ void __launch_bounds__(kThreads) convert_losses(const Wide<S>* losses, S* out, i64 n) {
  WEFT_FOR_EACH(i, n) out[i] = store<S>(losses[i]);
}

template <class T>
struct Common {
  Tensor target, weight;
  void into(LossArguments<T>& a, const OpCall& c, const Tensor& x, const Tensor& t, const Tensor& w) {
    const auto& attrs = c.as<ClassLossAttrs>();
    const RowShape shape(x.sizes(), attrs.dim);
    target = dense(t);
    weight = dense_as(w, kDTypeOf<T>);
    a.x = x.impl()->data;
    a.target = static_cast<const i64*>(target.impl()->data);
    a.weight = weight.defined() ? static_cast<const T*>(weight.impl()->data) : nullptr;
    a.rows = target.numel();
    a.n = shape.n;
    a.inner = shape.inner;
    a.ignore_index = attrs.ignore_index;
    a.smoothing = T(attrs.smoothing);
    a.each = a.smoothing / T(shape.n);
    a.logits = attrs.logits;
    a.smooths = attrs.smoothing > 0;
    a.per_row = attrs.reduction == Reduction::none;
    a.mean = attrs.reduction == Reduction::mean;
    a.fault = fault_site(detail::Fault::index,
                         "{}: target {} is not a class (there are {}); use ignore_index for rows to leave out",
                         c.op.name, shape.n);
  }
};

template <class S>
void forward(const OpCall& c) {
  using T = Wide<S>;
  const Tensor x = dense(c.in[0]);
  LossArguments<T> a{};
  Common<T> common;
  common.into(a, c, x, c.in[1], c.in[2]);
  a.largest = static_cast<T*>(c.out[1].impl()->data);
  const bool direct = a.per_row && c.out[0].dtype() == kDTypeOf<T>;
  const Workspace work(size_t(2 * a.rows) * sizeof(T));
  a.losses = direct ? static_cast<T*>(c.out[0].impl()->data) : work.as<T>();
  a.weights = work.as<T>() + a.rows;
  const size_t bytes = size_t(a.n) * sizeof(S) + 32;
  if (a.rows == 0)
    ;
  else if (a.inner > 1)
    launch(column_losses<S>, column_grid(a.rows), kColumnThreads, 0, current_stream(), a);
  else if (a.n <= reduction::kBlock)
    launch(warp_losses<S>, dim3(unsigned((a.rows + kThreads / 32 - 1) / (kThreads / 32))), kThreads, 0,
           current_stream(), a);
  else if (a.logits && bytes <= kMostStaged)
    launch(block_losses<S, true>, dim3(unsigned(a.rows)), kLossThreads, bytes, current_stream(), a);
  else
    launch(block_losses<S, false>, dim3(unsigned(a.rows)), kLossThreads, 0, current_stream(), a);
  over_rows<T>(a.losses, a.weights, a.rows, a.mean, a.per_row ? nullptr : c.out[0].impl()->data, c.out[0].dtype(),
               static_cast<T*>(c.out[2].impl()->data));
  if (!a.per_row || direct || a.rows == 0) return;
  launch(convert_losses<S>, grid_for(a.rows), kThreads, 0, current_stream(), a.losses,
         static_cast<S*>(c.out[0].impl()->data), a.rows);
}

// ---- gradient

// With p = softmax(x) and W = sum w:  gx_c = g ((1 - s) w_t (p_c - [c = t]) + s / C (W p_c - w_c)); p = 0 for
// log-probabilities.
template <class T>
struct RowGradient {
  T m, log_sum, own, scale, smooth;
  i64 k;
  __device__ __forceinline__ RowGradient(const LossArguments<T>& a, i64 row) {
    k = class_of(a, row);
    const T g = a.per_row ? a.gradient[row] : a.mean ? a.gradient[0] / *a.total : a.gradient[0];
    own = k < 0 ? T(0) : g * (T(1) - a.smoothing) * weight_at(a, k);
    smooth = g * a.each;
    scale = own + smooth * (a.weight_total ? *a.weight_total : T(a.n));
    m = a.largest[2 * row];
    log_sum = a.largest[2 * row + 1];
  }
  __device__ __forceinline__ T at(const LossArguments<T>& a, i64 i, T x) const {
    if (k < 0) return T(0);
    T gx = a.logits ? scale * weight_of(x - m - log_sum) : T(0);
    if (a.smooths) gx -= smooth * weight_at(a, i);
    return i == k ? gx - own : gx;
  }
};

// Warps (or thread blocks) a row.
template <class S>
__global__ void __launch_bounds__(kThreads) row_gradients(LossArguments<Wide<S>> a, int rows_per_block) {
  using T = Wide<S>;
  constexpr int kCount = Pack<S>::kCount;
  const int threads = kThreads / rows_per_block, thread = int(threadIdx.x) % threads;
  const i64 row = i64(blockIdx.x) * rows_per_block + threadIdx.x / threads;
  if (row >= a.rows) return;
  const RowGradient<T> gradient(a, row);
  const S* x = static_cast<const S*>(a.x) + row * a.n;
  S* gx = static_cast<S*>(a.gx) + row * a.n;
  auto one = [&](i64 i) { gx[i] = store<S>(gradient.at(a, i, a.logits ? load(x[i]) : T(0))); };
  // Whole packs where x and gx lie alike within 16 bytes.
  i64 head = (16 - i64(reinterpret_cast<u64>(gx) % 16)) % 16 / i64(sizeof(S));
  if (reinterpret_cast<u64>(gx) % 16 != reinterpret_cast<u64>(x) % 16 || head > a.n) head = a.n;
  const i64 packs = (a.n - head) / kCount;
  for (i64 i = thread; i < head; i += threads) one(i);
  for (i64 p = thread; p < packs; p += threads) {
    const i64 first = head + p * kCount;
    Pack<S> pack;
    if (a.logits) pack = *reinterpret_cast<const Pack<S>*>(x + first);
#pragma unroll
    for (int k = 0; k < kCount; ++k) pack.v[k] = store<S>(gradient.at(a, first + k, a.logits ? load(pack.v[k]) : T(0)));
    *reinterpret_cast<Pack<S>*>(gx + first) = pack;
  }
  for (i64 i = head + packs * kCount + thread; i < a.n; i += threads) one(i);
}

template <class S>
__global__ void __launch_bounds__(kColumnThreads) column_gradients(LossArguments<Wide<S>> a) {
  using T = Wide<S>;
  const ColumnPlace at(a.rows, a.n, a.inner);
  if (!at.inside) return;
  const RowGradient<T> gradient(a, at.row);
  const S* x = static_cast<const S*>(a.x) + at.base;
  S* gx = static_cast<S*>(a.gx) + at.base;
  for (i64 i = at.lane; i < a.n; i += 32)
    gx[i * a.inner] = store<S>(gradient.at(a, i, a.logits ? load(x[i * a.inner]) : T(0)));
}

template <class S>
void backward(const OpCall& c) {
  using T = Wide<S>;
  const Tensor x = dense(c.in[1]), g = dense_as(c.in[0], kDTypeOf<T>);
  LossArguments<T> a{};
  Common<T> common;
  common.into(a, c, x, c.in[2], c.in[3]);
  if (a.rows == 0) return;
  a.largest = static_cast<T*>(c.in[4].impl()->data);
  a.total = static_cast<const T*>(c.in[5].impl()->data);
  a.gradient = static_cast<const T*>(g.impl()->data);
  a.gx = c.out[0].impl()->data;
  const Workspace work(sizeof(T));
  if (a.smooths && a.weight) {
    over_rows<T>(a.weight, a.weight, a.n, false, nullptr, DType::f32, work.as<T>());
    a.weight_total = work.as<T>();
  }
  if (a.inner > 1) return launch(column_gradients<S>, column_grid(a.rows), kColumnThreads, 0, current_stream(), a);
  const int rows_per_block = a.n <= reduction::kBlock ? kThreads / 32 : 1;
  launch(row_gradients<S>, dim3(unsigned((a.rows + rows_per_block - 1) / rows_per_block)), kThreads, 0,
         current_stream(), a, rows_per_block);
}

}  // namespace

void class_loss(const OpCall& c) {
  if (!with_floating(c.in[0].dtype(), [&](auto s) { forward<typename decltype(s)::type>(c); }))
    WEFT_FAIL("{}: no CUDA kernel for {}", c.op.name, c.in[0].dtype());
}
void class_loss_backward(const OpCall& c) {
  if (!with_floating(c.in[1].dtype(), [&](auto s) { backward<typename decltype(s)::type>(c); }))
    WEFT_FAIL("{}: no CUDA kernel for {}", c.op.name, c.in[1].dtype());
}

}  // namespace weft::gpu
