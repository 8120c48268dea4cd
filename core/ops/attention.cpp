#include "core/ops/attention.h"

#include <cmath>
#include <limits>

#include "core/autocast.h"
#include "core/error.h"
#include "core/ops/dropout.h"
#include "core/ops/matmul.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/reduce.h"

namespace weft {

const OpRecord AttentionOp::record{.name = "scaled_dot_product_attention",
                                   .save_inputs = 15,
                                   .save_outputs = 3,
                                   .cpu = cpu::attention,
                                   .rule = rules::attention,
                                   .non_differentiable = 2,
                                   .cast = Cast::lower};
const OpRecord AttentionBackwardOp::record{.name = "scaled_dot_product_attention_backward",
                                           .save_inputs = 31,
                                           .cpu = cpu::attention_backward,
                                           .rule = rules::attention_backward};

namespace detail {

Tensor allocate_heads(const Dims& sizes, DType dtype, Device device) {
  const int64_t batch = sizes[0], heads = sizes[1], time = sizes[2], width = sizes[3];
  return allocate({batch, heads, time, width}, {time * heads * width, width, heads * width, 1}, dtype, device);
}

Tensor composite_attention(const Tensor& q_in, const Tensor& k_in, const Tensor& v_in, const Tensor& mask,
                           const AttentionAttrs& a, double dropout_p) {
  // 16-bit floats round once, at the end.
  const DType dtype = q_in.dtype(), wide = itemsize(dtype) == 2 ? DType::f32 : dtype;
  Tensor q = q_in.to(wide), k = k_in.to(wide), v = v_in.to(wide);
  const int64_t group = k.size(1) == 0 ? 1 : q.size(1) / k.size(1);
  if (group > 1) {
    const auto repeated = [&](const Tensor& t) {
      return t.unsqueeze(2)
          .expand({t.size(0), t.size(1), group, t.size(2), t.size(3)})
          .reshape({t.size(0), q.size(1), t.size(2), t.size(3)});
    };
    k = repeated(k);
    v = repeated(v);
  }
  const double hidden = -std::numeric_limits<double>::infinity();
  Tensor s = matmul(q.mul(a.scale), k.transpose(-2, -1));
  if (a.causal) {
    const TensorOptions here{.device = s.device()};
    const Tensor row = arange(0, s.size(2), 1, here).unsqueeze(1), column = arange(0, s.size(3), 1, here);
    s = s.masked_fill(gt(column, row), hidden);
  }
  if (mask.defined())
    s = mask.dtype() == DType::bool_ ? s.masked_fill(mask.logical_not(), hidden) : s.add(mask.to(wide));
  if (s.numel() == 0) return matmul(s, v).to(dtype);
  Tensor largest = s.detach().amax({.dim = -1, .keepdim = true});
  largest = largest.masked_fill(largest.eq(hidden), 0);
  const Tensor e = s.sub(largest).exp(), total = e.sum({.dim = -1, .keepdim = true});
  Tensor p = e.div(total.masked_fill(total.eq(0), 1));
  if (dropout_p > 0) p = dropout(p, dropout_p, true);
  return matmul(p, v).to(dtype);
}

}  // namespace detail

namespace {

constexpr const char* kName = "scaled_dot_product_attention";

void check(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& o) {
  const char* op = kName;
  WEFT_CHECK(q.defined() && k.defined() && v.defined(), "{}: an operand is an undefined tensor", op);
  WEFT_CHECK_TYPE(is_floating(q.dtype()), "{}: needs floating operands, got {}; convert with .to()", op, q);
  WEFT_CHECK_TYPE(q.dtype() == k.dtype() && q.dtype() == v.dtype(), "{}: operands need one dtype, got {}, {} and {}",
                  op, q, k, v);
  WEFT_CHECK(q.dim() >= 2 && k.dim() >= 2 && v.dim() >= 2, "{}: needs [..., time, width], got {}, {} and {}", op, q, k,
             v);
  WEFT_CHECK(q.size(-1) == k.size(-1), "{}: widths of query {} and key {} differ", op, q, k);
  WEFT_CHECK(k.size(-2) == v.size(-2), "{}: times of key {} and value {} differ", op, k, v);
  WEFT_CHECK(!(o.is_causal && o.attn_mask.defined()), "{}: takes a mask or is_causal, not both", op);
  WEFT_CHECK(o.dropout_p >= 0 && o.dropout_p <= 1, "{}: dropout_p must be in [0, 1], got {}", op, o.dropout_p);
  if (!o.attn_mask.defined()) return;
  const DType m = o.attn_mask.dtype();
  WEFT_CHECK_TYPE(m == DType::bool_ || m == DType::f32 || m == q.dtype(),
                  "{}: the mask must be bool, f32 or {}, got {}", op, q.dtype(), o.attn_mask);
}

// [..., time, width] with the leading dimensions `lead`, as [batch, heads, time, width].
Tensor as_heads(const Tensor& t, const Dims& lead) {
  Dims sizes = lead;
  sizes.push_back(t.size(-2));
  sizes.push_back(t.size(-1));
  Tensor x = t.sizes() == sizes ? t : t.expand(sizes);
  if (x.dim() == 4) return x;
  if (x.dim() == 3) return x.unsqueeze(0);
  if (x.dim() == 2) return x.unsqueeze(0).unsqueeze(0);
  int64_t batch = 1;
  for (int d = 0; d + 3 < x.dim(); ++d) batch *= x.sizes()[d];
  return x.reshape({batch, x.size(-3), x.size(-2), x.size(-1)});
}

Dims lead_of(const Tensor& t) {
  Dims d = t.sizes();
  d.pop_back();
  d.pop_back();
  return d;
}

}  // namespace

Tensor scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionOptions& o) {
  if (detail::casts(AttentionOp::record)) [[unlikely]]
    return detail::cast_call(AttentionOp::record, scaled_dot_product_attention, q, k, v, o);
  check(q, k, v, o);
  Dims lead = lead_of(q), kv_lead = lead;
  if (o.enable_gqa && q.dim() >= 3 && k.dim() == q.dim() && v.dim() == q.dim()) {
    const int64_t heads = q.size(-3), kv_heads = k.size(-3);
    WEFT_CHECK(kv_heads == v.size(-3) && kv_heads > 0 && heads % kv_heads == 0,
               "{}: heads of query {} must be a multiple of those of key {} and value {}", kName, q, k, v);
    kv_lead.back() = kv_heads;
  } else {
    lead = kv_lead = broadcast_shapes(broadcast_shapes(lead, lead_of(k), kName), lead_of(v), kName);
  }
  const Tensor q4 = as_heads(q, lead), k4 = as_heads(k, kv_lead), v4 = as_heads(v, kv_lead);
  Tensor mask = o.attn_mask;
  if (mask.defined()) {
    Dims scores = lead;
    scores.push_back(q.size(-2));
    scores.push_back(k.size(-2));
    WEFT_CHECK(broadcast_shapes(mask.sizes(), scores, kName) == scores, "{}: the mask {} does not broadcast to {}",
               kName, mask, scores);
    if (mask.dtype() != DType::bool_) mask = mask.to(q.dtype());
    if (lead.size() > 2 && mask.dim() > 3) mask = as_heads(mask, lead);
  }
  const AttentionAttrs attrs{o.scale.value_or(1 / std::sqrt(static_cast<double>(q.size(-1)))), o.is_causal};
  Tensor out;
  if (o.dropout_p > 0 || (mask.defined() && detail::needs_grad(&mask, 1))) {
    out = detail::composite_attention(q4, k4, v4, mask, attrs, o.dropout_p);
  } else {
    const Dims rows{q4.size(0), q4.size(1), q4.size(2)};
    Tensor results[2] = {detail::allocate_heads({rows[0], rows[1], rows[2], v.size(-1)}, q.dtype(), q.device()),
                         detail::allocate(rows, q.dtype() == DType::f64 ? DType::f64 : DType::f32, q.device())};
    const Tensor in[4] = {q4, k4, v4, mask};
    dispatch(AttentionOp::record, in, results, attrs);
    out = results[0];
  }
  Dims sizes = lead;
  sizes.push_back(q.size(-2));
  sizes.push_back(v.size(-1));
  return out.sizes() == sizes ? out : out.reshape(sizes);
}

}  // namespace weft
