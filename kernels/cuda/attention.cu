#include "core/ops/attention.h"

#include "kernels/cuda/allocator.h"
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/dnn.h"
#include "kernels/cuda/kernels.h"

namespace weft::gpu {
namespace dnn {
namespace {

template <class S>
flash::Operand<S> operand(const AttentionOperand& o) {
  return {static_cast<S*>(o.data), o.strides[0], o.strides[1], o.strides[2], o.strides[3]};
}

template <class S>
flash::Arguments<S> arguments(const AttentionCall& c) {
  using T = Wide<S>;
  flash::Arguments<S> a{};
  a.q = operand<S>(c.q), a.k = operand<S>(c.k), a.v = operand<S>(c.v), a.o = operand<S>(c.o);
  a.grad_o = operand<S>(c.grad_o), a.grad_q = operand<S>(c.grad_q);
  a.grad_k = operand<S>(c.grad_k), a.grad_v = operand<S>(c.grad_v);
  a.lse = static_cast<T*>(c.stats);
  a.mask = c.mask;
  for (int d = 0; d < 4; ++d) a.mask_strides[d] = c.mask_strides[d];
  a.bool_mask = c.bool_mask, a.causal = c.causal;
  a.heads = c.heads, a.kv_heads = c.kv_heads, a.group = c.kv_heads == 0 ? 1 : c.heads / c.kv_heads;
  a.tq = c.tq, a.tk = c.tk, a.d = c.d, a.dv = c.dv;
  a.log2_scale = T(c.scale * flash::kLog2E), a.scale = T(c.scale);
  return a;
}

// `kernel(blocks)` for tiles of `time` of every matrix and every slice of `width` columns.
dim3 grid(i64 matrices, i64 time, int tile, i64 slices) {
  const i64 blocks = matrices * ((time + tile - 1) / tile) * slices;
  WEFT_CHECK(blocks < (i64{1} << 31), "scaled_dot_product_attention: {} blocks are too many for one launch", blocks);
  return dim3(unsigned(blocks));
}

template <class S, int kChunks>
void run(const AttentionCall& c) {
  using T = Wide<S>;
  constexpr int kTile = Tiles<T>::kTile;
  const auto slices = [](i64 width) { return width <= 0 ? i64{1} : (width + kChunks * kTile - 1) / (kChunks * kTile); };
  flash::Arguments<S> a = arguments<S>(c);
  const i64 matrices = c.batch * c.heads;
  if (!c.backward) {
    if (matrices * c.tq == 0) return;
    a.slices = u32(slices(c.dv));
    return launch(flash::forward<S, kChunks>, grid(matrices, c.tq, kTile, a.slices), kThreads, 0, current_stream(), a);
  }
  Workspace delta(size_t(matrices * c.tq) * sizeof(T) + 1);
  a.delta = delta.as<T>();
  if (matrices * c.tq > 0) {
    launch(flash::deltas<S>, grid_for(matrices * c.tq * 32), kThreads, 0, current_stream(), a, matrices * c.tq);
    a.slices = u32(slices(c.d));
    if (c.d > 0)
      launch(flash::query_gradient<S, kChunks>, grid(matrices, c.tq, kTile, a.slices), kThreads, 0, current_stream(),
             a);
  }
  a.slices = u32(slices(c.d > c.dv ? c.d : c.dv));
  if (c.batch * c.kv_heads * c.tk > 0)
    launch(flash::key_value_gradients<S, kChunks>, grid(c.batch * c.kv_heads, c.tk, kTile, a.slices), kThreads, 0,
           current_stream(), a);
}

}  // namespace

void attention_kernels(const AttentionCall& c) {
  const bool known = with_floating(c.dtype, [&](auto s) {
    using S = typename decltype(s)::type;
    const i64 width = c.backward && c.d > c.dv ? c.d : c.dv;
    if (width <= Tiles<Wide<S>>::kTile)
      run<S, 1>(c);
    else
      run<S, 2>(c);
  });
  WEFT_ASSERT(known, "scaled_dot_product_attention: no kernel for {}", c.dtype);
}

}  // namespace dnn

namespace {

dnn::AttentionOperand operand(const Tensor& t) {
  dnn::AttentionOperand o;
  o.data = t.impl()->data;
  for (int d = 0; d < 4; ++d) o.strides[d] = t.strides()[d];
  return o;
}

dnn::AttentionCall describe(const AttentionAttrs& attrs, const Tensor& q, const Tensor& k, const Tensor& v,
                            const Tensor& mask, const Tensor& o, const Tensor& stats) {
  dnn::AttentionCall c;
  c.dtype = q.dtype(), c.causal = attrs.causal, c.scale = attrs.scale;
  c.batch = q.sizes()[0], c.heads = q.sizes()[1], c.kv_heads = k.sizes()[1], c.tq = q.sizes()[2], c.tk = k.sizes()[2];
  c.d = q.sizes()[3], c.dv = v.sizes()[3];
  c.q = operand(q), c.k = operand(k), c.v = operand(v), c.o = operand(o);
  c.stats = stats.impl()->data;
  if (mask.defined()) {
    c.mask = mask.impl()->data;
    c.bool_mask = mask.dtype() == DType::bool_;
    for (int d = 0; d < mask.dim(); ++d)
      c.mask_strides[4 - mask.dim() + d] = mask.sizes()[d] == 1 ? 0 : mask.strides()[d];
  }
  return c;
}

void run(const dnn::AttentionCall& c) {
  if (dnn::supports(c))
    dnn::run(c, current_stream());
  else
    dnn::attention_kernels(c);
}

}  // namespace

void attention(const OpCall& c) {
  run(describe(c.as<AttentionAttrs>(), c.in[0], c.in[1], c.in[2], c.in[3], c.out[0], c.out[1]));
}

void attention_backward(const OpCall& c) {
  dnn::AttentionCall call = describe(c.as<AttentionAttrs>(), c.in[1], c.in[2], c.in[3], c.in[4], c.in[5], c.in[6]);
  call.backward = true;
  // The library's fixed order of sums keeps 16-bit scores of all tiles in memory.
  const i64 scores = call.batch * call.heads * ((call.tq + 63) / 64 * 64) * ((call.tk + 63) / 64 * 64);
  call.deterministic = scores <= (i64{1} << 30);
  call.grad_o = operand(c.in[0]);
  call.grad_q = operand(c.out[0]), call.grad_k = operand(c.out[1]), call.grad_v = operand(c.out[2]);
  run(call);
}

}  // namespace weft::gpu
