#include "core/ops/attention.h"
#include "core/ops/copy.h"
#include "kernels/cpu/attention.h"

namespace weft::cpu {
namespace {

// t, or a copy of it, with a contiguous last dimension.
Tensor with_rows(const Tensor& t) {
  if (t.sizes()[3] <= 1 || t.strides()[3] == 1) return t;
  Tensor copied = weft::detail::allocate(t.sizes(), t.dtype(), t.device());
  const Tensor in[1] = {t};
  copy({CopyOp::record, in, 1, &copied, 1, nullptr});
  return copied;
}

kernels::AttentionOperand operand(const Tensor& t) {
  return {t.data_ptr(), t.strides()[0], t.strides()[1], t.strides()[2]};
}
kernels::AttentionResult result(const Tensor& t) {
  return {t.data_ptr(), t.strides()[0], t.strides()[1], t.strides()[2]};
}

kernels::Attention description(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask,
                               const AttentionAttrs& attrs) {
  kernels::Attention a;
  a.batch = q.sizes()[0], a.heads = q.sizes()[1], a.kv_heads = k.sizes()[1], a.tq = q.sizes()[2], a.tk = k.sizes()[2];
  a.d = q.sizes()[3], a.dv = v.sizes()[3];
  a.dtype = q.dtype(), a.q = operand(q), a.k = operand(k), a.v = operand(v);
  a.causal = attrs.causal, a.scale = attrs.scale;
  if (mask.defined()) {
    a.mask = mask.data_ptr();
    a.bool_mask = mask.dtype() == DType::bool_;
    for (int d = 0; d < mask.dim(); ++d)
      a.mask_strides[4 - mask.dim() + d] = mask.sizes()[d] == 1 ? 0 : mask.strides()[d];
  }
  return a;
}

}  // namespace

void attention(const OpCall& c) {
  const Tensor q = with_rows(c.in[0]), k = with_rows(c.in[1]), v = with_rows(c.in[2]);
  kernels::attention(description(q, k, v, c.in[3], c.as<AttentionAttrs>()), result(c.out[0]), c.out[1].data_ptr());
}

void attention_backward(const OpCall& c) {
  const Tensor g = with_rows(c.in[0]), q = with_rows(c.in[1]), k = with_rows(c.in[2]), v = with_rows(c.in[3]),
               out = with_rows(c.in[5]);
  kernels::attention_backward(description(q, k, v, c.in[4], c.as<AttentionAttrs>()), operand(g), operand(out),
                              c.in[6].data_ptr(), result(c.out[0]), result(c.out[1]), result(c.out[2]));
}

}  // namespace weft::cpu
