#include <limits>

#include "core/error.h"
#include "kernels/cuda/real/dnn_plans.h"

// Attention as the graph of products, pointwise operations and reductions that cuDNN runs as one fused kernel.
namespace weft::gpu::dnn {
namespace {

using cudnn::Graph;
using Sizes = Graph::Sizes;

struct Builder {
  const AttentionCall& c;
  Graph& g;
  cudnnDataType_t type;
  Sizes scores, rows, row_strides, score_strides;

  Builder(const AttentionCall& call, Graph& graph) : c(call), g(graph), type(cudnn::data_type(call.dtype)) {
    scores = {c.batch, c.heads, c.tq, c.tk};
    score_strides = {c.heads * c.tq * c.tk, c.tq * c.tk, c.tk, 1};
    rows = {c.batch, c.heads, c.tq, 1};
    row_strides = {c.heads * c.tq, c.tq, 1, 1};
  }

  // [batch, heads, time, width], or (transposed) [batch, heads, width, time].
  Graph::Tensor operand(const AttentionOperand& o, int64_t heads, int64_t time, int64_t width, bool transposed) {
    const int64_t* s = o.strides;
    return transposed ? g.memory(type, {c.batch, heads, width, time}, {s[0], s[1], s[3], s[2]}, alignment(o.data))
                      : g.memory(type, {c.batch, heads, time, width}, {s[0], s[1], s[2], s[3]}, alignment(o.data));
  }
  Graph::Tensor score(cudnnDataType_t t = CUDNN_DATA_FLOAT) { return g.between(t, scores, score_strides); }
  Graph::Tensor row() { return g.between(CUDNN_DATA_FLOAT, rows, row_strides); }

  // scale q k^T, with what lies above the diagonal hidden.
  Graph::Tensor masked(Graph::Tensor q, Graph::Tensor kt, Graph::Tensor scale, Graph::Tensor hidden) {
    const auto product = score(), scaled = score();
    g.matmul(q, kt, product);
    g.pointwise(CUDNN_POINTWISE_MUL, product, scale, scaled);
    return c.causal ? causal(scaled, hidden) : scaled;
  }
  Graph::Tensor causal(Graph::Tensor s, Graph::Tensor hidden) {
    const auto row = score(CUDNN_DATA_INT32), column = score(CUDNN_DATA_INT32), seen = score(CUDNN_DATA_BOOLEAN),
               result = score();
    g.index(s, row, 2);
    g.index(s, column, 3);
    g.pointwise(CUDNN_POINTWISE_CMP_GE, row, column, seen, CUDNN_DATA_BOOLEAN);
    g.select(s, hidden, seen, result);
    return result;
  }
};

const AttentionCall& of(const void* call) { return *static_cast<const AttentionCall*>(call); }
void* number(const PlannedCall& p, int i) { return const_cast<float*>(&p.numbers[i]); }

std::vector<void*> forward_pointers(const void* call, const PlannedCall& p, char*) {
  const AttentionCall& c = of(call);
  std::vector<void*> v{c.q.data, c.k.data, c.v.data, c.o.data, c.stats, number(p, 0)};
  if (c.causal) v.push_back(number(p, 1));
  return v;
}

std::vector<void*> backward_pointers(const void* call, const PlannedCall& p, char* scratch) {
  const AttentionCall& c = of(call);
  std::vector<void*> v{c.q.data,      c.k.data,      c.v.data,      c.o.data,     c.stats,      c.grad_o.data,
                       c.grad_q.data, c.grad_k.data, c.grad_v.data, number(p, 0), number(p, 2), scratch + p.offsets[0]};
  if (c.causal) v.push_back(number(p, 1));
  if (p.offsets[1] >= 0) v.push_back(scratch + p.offsets[1]);
  return v;
}

void plan_forward(const AttentionCall& c, Graph& g, PlannedCall& p) {
  Builder b(c, g);
  const auto q = b.operand(c.q, c.heads, c.tq, c.d, false), kt = b.operand(c.k, c.kv_heads, c.tk, c.d, true),
             v = b.operand(c.v, c.kv_heads, c.tk, c.dv, false), o = b.operand(c.o, c.heads, c.tq, c.dv, false),
             stats = g.memory(CUDNN_DATA_FLOAT, b.rows, b.row_strides), scale = g.number(CUDNN_DATA_FLOAT);
  p.uids = {q, kt, v, o, stats, scale};
  Graph::Tensor hidden = 0;
  if (c.causal) p.uids.push_back(hidden = g.number(CUDNN_DATA_FLOAT));
  const auto s = b.masked(q, kt, scale, hidden);
  const auto largest = b.row(), shifted = b.score(), e = b.score(), sum = b.row(), log_sum = b.row(),
             weights = b.score(b.type);
  g.reduce(CUDNN_REDUCE_TENSOR_MAX, s, largest);
  g.pointwise(CUDNN_POINTWISE_SUB, s, largest, shifted);
  g.pointwise(CUDNN_POINTWISE_EXP, shifted, e);
  g.reduce(CUDNN_REDUCE_TENSOR_ADD, e, sum);
  g.pointwise(CUDNN_POINTWISE_LOG, sum, log_sum);
  g.pointwise(CUDNN_POINTWISE_ADD, largest, log_sum, stats);
  g.pointwise(CUDNN_POINTWISE_DIV, e, sum, weights);
  g.matmul(weights, v, o);
  p.pointers = forward_pointers;
}

// delta = rowsum(do o), P = exp(s - stats), dv = P^T do, dS = P (do v^T - delta) scale, dk = dS^T q, dq = dS k.
void plan_backward(const AttentionCall& c, Graph& g, PlannedCall& p) {
  Builder b(c, g);
  const Sizes transposed{c.batch, c.heads, c.tk, c.tq}, transposed_strides{c.heads * c.tq * c.tk, c.tq * c.tk, 1, c.tk};
  const auto q = b.operand(c.q, c.heads, c.tq, c.d, false), kt = b.operand(c.k, c.kv_heads, c.tk, c.d, true),
             vt = b.operand(c.v, c.kv_heads, c.tk, c.dv, true), o = b.operand(c.o, c.heads, c.tq, c.dv, false),
             stats = g.memory(CUDNN_DATA_FLOAT, b.rows, b.row_strides),
             grad_o = b.operand(c.grad_o, c.heads, c.tq, c.dv, false),
             grad_q = b.operand(c.grad_q, c.heads, c.tq, c.d, false),
             grad_k = b.operand(c.grad_k, c.kv_heads, c.tk, c.d, false),
             grad_v = b.operand(c.grad_v, c.kv_heads, c.tk, c.dv, false), scale = g.number(CUDNN_DATA_FLOAT),
             one = g.number(CUDNN_DATA_FLOAT), delta = g.memory(CUDNN_DATA_FLOAT, b.rows, b.row_strides);
  p.uids = {q, kt, vt, o, stats, grad_o, grad_q, grad_k, grad_v, scale, one, delta};
  Graph::Tensor hidden = 0, dq_sums = 0;
  if (c.causal) p.uids.push_back(hidden = g.number(CUDNN_DATA_FLOAT));
  const int64_t row_bytes = (c.batch * c.heads * c.tq * 4 + 255) / 256 * 256;
  p.offsets[0] = 0, p.offsets[1] = -1;
  p.scratch = row_bytes;
  if (!c.deterministic) {  // dq is added up by many blocks, in f32
    dq_sums = g.memory(CUDNN_DATA_FLOAT, {c.batch, c.heads, c.tq, c.d}, {c.heads * c.tq * c.d, c.tq * c.d, c.d, 1});
    p.uids.push_back(dq_sums);
    const int64_t bytes = c.batch * c.heads * c.tq * c.d * 4;
    p.offsets[0] = bytes, p.offsets[1] = 0;
    if (cudnn::library()->version() < 90600) p.cleared = bytes;
    p.scratch += bytes;
  }
  const auto product = g.between(CUDNN_DATA_FLOAT, {c.batch, c.heads, c.tq, c.dv},
                                 {c.heads * c.tq * c.dv, c.tq * c.dv, c.heads * c.dv, 1}),
             sum = b.row();
  g.pointwise(CUDNN_POINTWISE_MUL, grad_o, o, product);
  g.reduce(CUDNN_REDUCE_TENSOR_ADD, product, sum);
  g.pointwise(CUDNN_POINTWISE_MUL, sum, one, delta);

  const auto s = b.masked(q, kt, scale, hidden);
  const auto shifted = b.score(), weights = b.score(), weights_t = g.between(b.type, transposed, transposed_strides);
  g.pointwise(CUDNN_POINTWISE_SUB, s, stats, shifted);
  g.pointwise(CUDNN_POINTWISE_EXP, shifted, weights);
  g.reshape(weights, weights_t);
  // With fewer heads of k and v, the gradients of all heads are added up by the last operation.
  const auto shared = [&](Graph::Tensor a, Graph::Tensor x, Graph::Tensor to, int64_t width) {
    if (c.heads == c.kv_heads) return g.matmul(a, x, to);
    const auto all =
        g.between(b.type, {c.batch, c.heads, c.tk, width}, {c.heads * c.tk * width, c.tk * width, width, 1});
    g.matmul(a, x, all);
    g.reduce(CUDNN_REDUCE_TENSOR_ADD, all, to);
  };
  shared(weights_t, grad_o, grad_v, c.dv);

  const auto dp = b.score(), centred = b.score(), weighted = b.score(), ds = b.score(),
             ds_t = g.between(b.type, transposed, transposed_strides);
  g.matmul(grad_o, vt, dp);
  g.pointwise(CUDNN_POINTWISE_SUB, dp, delta, centred);
  g.pointwise(CUDNN_POINTWISE_MUL, centred, weights, weighted);
  g.pointwise(CUDNN_POINTWISE_MUL, weighted, scale, ds);
  g.reshape(ds, ds_t);
  shared(ds_t, q, grad_k, c.d);

  const int64_t* ks = c.k.strides;
  const auto k = g.between(b.type, {c.batch, c.kv_heads, c.tk, c.d}, {ks[0], ks[1], ks[2], ks[3]});
  g.reshape(kt, k);
  if (c.deterministic) {
    g.matmul(ds, k, grad_q);
  } else {
    g.matmul(ds, k, dq_sums);
    g.pointwise(CUDNN_POINTWISE_IDENTITY, dq_sums, grad_q);
  }
  p.pointers = backward_pointers;
}

}  // namespace

PlannedCall plan(const AttentionCall& c, const cudnn::Target& target) {
  PlannedCall p;
  p.numbers[0] = static_cast<float>(c.scale);
  p.numbers[1] = cudnn::library()->version() < 91000 ? std::numeric_limits<float>::lowest()
                                                     : -std::numeric_limits<float>::infinity();
  p.numbers[2] = 1;
  Graph g;
  if (c.backward)
    plan_backward(c, g, p);
  else
    plan_forward(c, g, p);
  cudnn::Limits limits;
  limits.workspace = int64_t{4} << 30;
  p.plan = g.plan(target, limits, p.why);
  return p;
}

std::vector<int64_t> key(const AttentionCall& c) {
  std::vector<int64_t> k{-1 - c.backward,
                         c.causal,
                         c.deterministic,
                         static_cast<int64_t>(c.dtype),
                         c.batch,
                         c.heads,
                         c.kv_heads,
                         c.tq,
                         c.tk,
                         c.d,
                         c.dv,
                         static_cast<int64_t>(__builtin_bit_cast(uint64_t, c.scale))};
  k.reserve(56);
  for (const auto* o : {&c.q, &c.k, &c.v, &c.o, &c.grad_o, &c.grad_q, &c.grad_k, &c.grad_v}) {
    k.insert(k.end(), o->strides, o->strides + 4);
    k.push_back(alignment(o->data));
  }
  return k;
}

}  // namespace weft::gpu::dnn
