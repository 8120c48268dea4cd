#include "core/ops/recurrent.h"

#include <algorithm>
#include <vector>

#include "core/autocast.h"
#include "core/error.h"
#include "core/host_read.h"
#include "core/ops/activation.h"
#include "core/ops/matmul.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/shape.h"
#include "core/ops/view.h"

namespace weft {

const OpRecord RecurrentOp::record{.name = "recurrent",
                                   .save_inputs = 0b111111111,
                                   .save_outputs = 0b11001,
                                   .cpu = cpu::recurrent,
                                   .rule = rules::recurrent,
                                   .non_differentiable = 0b11000,
                                   .host_inputs = 1u << 8,
                                   .cast = Cast::lower};
const OpRecord RecurrentBackwardOp::record{
    .name = "recurrent_backward", .cpu = cpu::recurrent_backward, .host_inputs = 1u << 7};

namespace {

void check_operand(const Tensor& t, const Dims& sizes, DType dtype, const char* what, bool optional = false) {
  if (optional && !t.defined()) return;
  WEFT_CHECK(t.defined(), "recurrent_layer: {} is an undefined tensor", what);
  WEFT_CHECK(t.sizes() == sizes, "recurrent_layer: {} is {}, expected {}", what, t, sizes);
  WEFT_CHECK_TYPE(t.dtype() == dtype, "recurrent_layer: {} is {}, the input {}; convert one with .to()", what,
                  t.dtype(), dtype);
}
// The first `batch` sequences have the first step, and none that ended goes on.
void check_batch_sizes(const Tensor& t, int64_t batch, int64_t rows) {
  WEFT_CHECK(t.dim() == 1 && t.dtype() == DType::i64 && t.is_contiguous(),
             "recurrent_layer: batch_sizes is {}; it must be one dimension of i64", t);
  WEFT_CHECK(t.device().is_cpu(), "recurrent_layer: batch_sizes is {}; the host reads it: .to(\"cpu\")", t);
  const detail::HostRead read("recurrent layers: the host reads batch_sizes");
  int64_t before = batch, total = 0;
  for (int64_t i = 0; i < t.numel(); ++i) {
    const int64_t here = detail::host_data<int64_t>(t)[i];
    WEFT_CHECK(here > 0 && here <= before && (i > 0 || here == batch),
               "recurrent_layer: batch_sizes[{}] is {}; they start with the {} sequences of h and never grow", i, here,
               batch);
    total += here;
    before = here;
  }
  WEFT_CHECK(total == rows, "recurrent_layer: batch_sizes add up to {}, the input has {} rows", total, rows);
}

}  // namespace

RecurrentResult recurrent_layer(Recurrence kind, const Tensor& x, const Tensor& batch_sizes, const Tensor& h,
                                const Tensor& c, const RecurrentWeights& w, bool reverse) {
  if (detail::casts(RecurrentOp::record)) [[unlikely]] {
    auto layer = [&](const Tensor& x, const Tensor& h, const Tensor& c, const Tensor& ih, const Tensor& hh,
                     const Tensor& bias_ih, const Tensor& bias_hh, const Tensor& projection) {
      return recurrent_layer(kind, x, batch_sizes, h, c, {ih, hh, bias_ih, bias_hh, projection}, reverse);
    };
    return detail::cast_call(RecurrentOp::record, layer, x, h, c, w.ih, w.hh, w.bias_ih, w.bias_hh, w.projection);
  }
  WEFT_CHECK(x.defined() && x.dim() == 2 && h.defined() && h.dim() == 2,
             "recurrent_layer: the input [rows, I] and h [N, P] need 2 dimensions, got {} and {}", x, h);
  WEFT_CHECK_TYPE(is_floating(x.dtype()), "recurrent_layer: the input must be a floating tensor, got {}", x);
  const bool lstm = kind == Recurrence::lstm, gru = kind == Recurrence::gru;
  const int64_t gates = gates_of(kind), batch = h.size(0), state = h.size(1);
  const int64_t hidden = w.projection.defined() && w.projection.dim() == 2 ? w.projection.size(1) : state;
  RecurrentAttrs a{kind, reverse, x.size(1), hidden, state, x.size(0), batch, false};
  const DType dtype = x.dtype();
  WEFT_CHECK(!w.projection.defined() || lstm, "recurrent_layer: only an lstm has a projection");
  check_operand(h, {batch, state}, dtype, "h");
  if (lstm) check_operand(c, {batch, hidden}, dtype, "c");
  check_operand(w.ih, {gates * hidden, a.input}, dtype, "weight_ih");
  check_operand(w.hh, {gates * hidden, state}, dtype, "weight_hh");
  check_operand(w.bias_ih, {gates * hidden}, dtype, "bias_ih", true);
  check_operand(w.bias_hh, {gates * hidden}, dtype, "bias_hh", true);
  check_operand(w.projection, {state, hidden}, dtype, "weight_hr", true);
  WEFT_CHECK(a.rows > 0 && batch > 0, "recurrent_layer: needs at least one step of one sequence, got {}", x);
  if (batch_sizes.defined())
    check_batch_sizes(batch_sizes, batch, a.rows);
  else
    WEFT_CHECK(a.rows % batch == 0, "recurrent_layer: the {} rows are no steps of {} sequences", a.rows, batch);

  const DType wide = dtype == DType::f64 ? DType::f64 : DType::f32;
  auto make = [&](int64_t rows, int64_t columns, DType t) { return detail::allocate({rows, columns}, t, x.device()); };
  const Tensor in[9] = {x, h, lstm ? c : Tensor(), w.ih, w.hh, w.bias_ih, w.bias_hh, w.projection, batch_sizes};
  a.keep = detail::needs_grad(in, 9);
  Tensor out[5] = {make(a.rows, state, dtype), make(batch, state, dtype), lstm ? make(batch, hidden, dtype) : Tensor(),
                   make(a.rows, gates * hidden, wide), lstm || gru ? make(a.rows, hidden, wide) : Tensor()};
  dispatch(RecurrentOp::record, in, out, a);
  return {out[0], out[1], out[2]};
}

namespace detail {

RecurrentResult composite_recurrent_layer(Recurrence kind, const Tensor& x, const Tensor& batch_sizes, const Tensor& h0,
                                          const Tensor& c0, const RecurrentWeights& w, bool reverse) {
  const int64_t batch = h0.size(0);
  std::vector<int64_t> sizes(static_cast<size_t>(x.size(0) / batch), batch);
  if (batch_sizes.defined())
    sizes.assign(detail::host_data<int64_t>(batch_sizes),
                 detail::host_data<int64_t>(batch_sizes) + batch_sizes.numel());
  std::vector<Tensor> p = split(linear(x, w.ih, w.bias_ih), sizes), outputs(sizes.size());
  Tensor h = h0, c = c0;
  for (size_t k = 0; k < sizes.size(); ++k) {
    const size_t t = reverse ? sizes.size() - 1 - k : k;
    const int64_t n = sizes[t];
    const Tensor before = h.narrow(0, 0, n), q = linear(before, w.hh, w.bias_hh);
    Tensor now, cell;
    if (kind == Recurrence::gru) {
      const std::vector<Tensor> in = chunk(p[t], 3, 1), rec = chunk(q, 3, 1);
      const Tensor r = sigmoid(in[0].add(rec[0])), z = sigmoid(in[1].add(rec[1]));
      const Tensor fresh = tanh(in[2].add(r.mul(rec[2])));
      now = fresh.add(z.mul(before.sub(fresh)));
    } else if (kind == Recurrence::lstm) {
      const std::vector<Tensor> gate = chunk(p[t].add(q), 4, 1);
      cell = sigmoid(gate[1]).mul(c.narrow(0, 0, n)).add(sigmoid(gate[0]).mul(tanh(gate[2])));
      now = sigmoid(gate[3]).mul(tanh(cell));
      if (w.projection.defined()) now = linear(now, w.projection);
    } else {
      now = kind == Recurrence::tanh ? tanh(p[t].add(q)) : relu(p[t].add(q));
    }
    outputs[t] = now;
    auto replaced = [n, batch](const Tensor& state, const Tensor& part) {
      return n == batch ? part : cat({part, state.narrow(0, n, batch - n)});
    };
    h = replaced(h, now);
    if (cell.defined()) c = replaced(c, cell);
  }
  return {cat(outputs), h, c};
}

}  // namespace detail
}  // namespace weft
