#include "core/ops/optimizer_step.h"

#include <memory>

#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/kernels.h"
#include "kernels/optimizer_update.h"

// One launch updates many tensors: their addresses travel in the kernel's arguments, and a block takes one chunk of one
// tensor. Accesses of 16 bytes where all tensors of a parameter are aligned to them.
namespace weft::gpu {
namespace {

constexpr int kUnroll = 2;  // packs that a thread has in flight per tensor
template <class S>
inline constexpr i64 kChunk = i64(kThreads) * kUnroll* Pack<S>::kCount;

template <int Inputs, int Capacity>
struct Table {
  void* data[Capacity][Inputs];
  i64 sizes[Capacity];
  u32 first[Capacity];  // chunk of the launch
  int count;
};
// Arguments of a launch have room for 32 KiB; small ones start sooner.
inline constexpr int kSmall = 48, kLarge = 512;

template <class T>
struct PlainSgd {
  static constexpr int inputs = 2;
  optimizer::Sgd<T> f;
  WEFT_FN void operator()(T* x) const { x[0] = f.plain(x[0], x[1]); }
};
template <class T>
struct MomentumSgd {
  static constexpr int inputs = 3;
  optimizer::Sgd<T> f;
  WEFT_FN void operator()(T* x) const { x[0] = f.with_momentum(x[0], x[1], x[2]); }
};
template <class T>
struct PlainAdam {
  static constexpr int inputs = 4;
  optimizer::Adam<T> f;
  WEFT_FN void operator()(T* x) const {
    f.moments(x[0], x[1], x[2], x[3]);
    x[0] = f.parameter(x[0], x[2], x[3]);
  }
};
template <class T>
struct AmsgradAdam {
  static constexpr int inputs = 5;
  optimizer::Adam<T> f;
  WEFT_FN void operator()(T* x) const {
    f.moments(x[0], x[1], x[2], x[3]);
    x[4] = x[4] > x[3] ? x[4] : x[3];
    x[0] = f.parameter(x[0], x[2], x[4]);
  }
};

template <class T>
struct Unscale {
  static constexpr int inputs = 1;
  T factor;
  float* found;  // every thread that finds something writes the same
  WEFT_FN void operator()(T* x) const {
    if (x[0] - x[0] != T(0)) *found = 1.0f;
    x[0] *= factor;
  }
};

template <class S, class U, int Capacity>
__global__ void __launch_bounds__(kThreads) update(const Table<U::inputs, Capacity> table, const U formula) {
  constexpr int kInputs = U::inputs, kCount = Pack<S>::kCount;
  // The last tensor that begins at or before this chunk.
  int low = 0, high = table.count;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (table.first[middle] <= blockIdx.x)
      low = middle;
    else
      high = middle;
  }
  const i64 begin = i64(blockIdx.x - table.first[low]) * kChunk<S>, left = table.sizes[low] - begin;
  S* x[kInputs];
  bool aligned = true;
#pragma unroll
  for (int k = 0; k < kInputs; ++k) {
    x[k] = static_cast<S*>(table.data[low][k]) + begin;
    aligned = aligned && reinterpret_cast<u64>(x[k]) % 16 == 0;
  }
  if (aligned && left >= kChunk<S>) {
    Pack<S> packs[kUnroll][kInputs];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u)
#pragma unroll
      for (int k = 0; k < kInputs; ++k)
        packs[u][k] = reinterpret_cast<const Pack<S>*>(x[k])[u * kThreads + int(threadIdx.x)];
#pragma unroll
    for (int u = 0; u < kUnroll; ++u) {
#pragma unroll
      for (int e = 0; e < kCount; ++e) {
        Wide<S> v[kInputs];
#pragma unroll
        for (int k = 0; k < kInputs; ++k) v[k] = load<S>(packs[u][k].v[e]);
        formula(v);
#pragma unroll
        for (int k = 0; k < kInputs; ++k)
          if (k != 1) packs[u][k].v[e] = store<S>(v[k]);
      }
#pragma unroll
      for (int k = 0; k < kInputs; ++k)
        if (k != 1) reinterpret_cast<Pack<S>*>(x[k])[u * kThreads + int(threadIdx.x)] = packs[u][k];
    }
    return;
  }
  const int n = left < kChunk<S> ? int(left) : int(kChunk<S>);
  for (int e = int(threadIdx.x); e < n; e += kThreads) {
    Wide<S> v[kInputs];
#pragma unroll
    for (int k = 0; k < kInputs; ++k) v[k] = load<S>(x[k][e]);
    formula(v);
#pragma unroll
    for (int k = 0; k < kInputs; ++k)
      if (k != 1) x[k][e] = store<S>(v[k]);
  }
}

/// Tensors of dtype S among the inputs of `c`, in as few launches as their number asks for.
template <class S, class U, int Capacity>
void launch_tables(const OpCall& c, const U& formula) {
  constexpr i64 kMaxChunks = i64(1) << 30;
  const auto table = std::make_unique<Table<U::inputs, Capacity>>();
  i64 chunks = 0;
  auto flush = [&] {
    if (chunks > 0)
      launch(update<S, U, Capacity>, dim3(unsigned(chunks)), kThreads, 0, current_stream(), *table, formula);
    table->count = 0;
    chunks = 0;
  };
  for (int i = 0; i < c.n_in; i += U::inputs) {
    const Tensor* in = c.in + i;
    const i64 n = in[0].numel();
    if (in[0].dtype() != kDTypeOf<S> || n == 0) continue;
    const i64 more = (n + kChunk<S> - 1) / kChunk<S>;
    if (table->count == Capacity || (table->count > 0 && chunks + more > kMaxChunks)) flush();
    for (int k = 0; k < U::inputs; ++k) table->data[table->count][k] = in[k].impl()->data;
    table->sizes[table->count] = n;
    table->first[table->count++] = u32(chunks);
    chunks += more;
  }
  flush();
}

/// `make(T)` gives the formula for arithmetic in T.
template <template <class> class U, class Make>
void update_with(const OpCall& c, const Make& make) {
  for (const DType dtype : {DType::f32, DType::bf16, DType::f16, DType::f64}) {
    int count = 0;
    for (int i = 0; i < c.n_in; i += U<float>::inputs) count += c.in[i].dtype() == dtype;
    if (count == 0) continue;
    with_floating(dtype, [&](auto s) {
      using S = typename decltype(s)::type;
      using F = U<Wide<S>>;
      const F formula = make(Wide<S>());
      if (count <= kSmall)
        launch_tables<S, F, kSmall>(c, formula);
      else
        launch_tables<S, F, kLarge>(c, formula);
    });
  }
}

template <template <class> class U, class Attrs>
void update_all(const OpCall& c, const Attrs& a) {
  update_with<U>(c, [&](auto t) {
    using F = U<decltype(t)>;
    return F{decltype(F::f)(a)};
  });
}

}  // namespace

void unscale(const OpCall& c) {
  OpCall gradients = c;
  --gradients.n_in;
  float* found = static_cast<float*>(c.in[c.n_in - 1].impl()->data);
  const double factor = c.as<UnscaleOp::Attrs>().factor;
  update_with<Unscale>(gradients, [&](auto t) {
    using T = decltype(t);
    return Unscale<T>{static_cast<T>(factor), found};
  });
}

void sgd_step(const OpCall& c) {
  const auto& a = c.as<SgdStepOp::Attrs>();
  if (a.momentum != 0)
    update_all<MomentumSgd>(c, a);
  else
    update_all<PlainSgd>(c, a);
}

void adam_step(const OpCall& c) {
  const auto& a = c.as<AdamStepOp::Attrs>();
  if (a.amsgrad)
    update_all<AmsgradAdam>(c, a);
  else
    update_all<PlainAdam>(c, a);
}

}  // namespace weft::gpu
