#include "nn/layers/recurrent.h"

#include "core/error.h"
#include "core/host_read.h"
#include "core/ops/dropout.h"
#include "core/ops/index.h"
#include "core/ops/shape.h"
#include "nn/layers/common.h"
#include "nn/layers/dropout.h"

namespace weft::nn {
namespace detail {
namespace {

enum Which { kIh, kHh, kBiasIh, kBiasHh, kProjection, kWeights };
constexpr const char* kNames[kWeights] = {"weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr"};

Tensor state_zeros(int64_t rows, int64_t columns, const Tensor& like) {
  return zeros({rows, columns}, {.dtype = like.dtype(), .device = like.device()});
}
void check_sizes(const char* name, int64_t input_size, int64_t hidden_size) {
  WEFT_CHECK(input_size >= 0, "{}: input_size is {}; it must not be negative", name, input_size);
  WEFT_CHECK(hidden_size > 0, "{}: hidden_size is {}; it must be positive", name, hidden_size);
}
// W_ih, W_hh, b_ih, b_hh, W_hr of one direction of one layer.
Tensor make_weight(const RecurrentConfig& c, int64_t input, int which) {
  const int64_t rows = gates_of(c.kind) * c.hidden_size;
  if (which == kIh) return empty({rows, input});
  if (which == kHh) return empty({rows, c.state_size()});
  if (which == kProjection) return c.proj_size > 0 ? empty({c.proj_size, c.hidden_size}) : Tensor();
  return c.bias ? empty({rows}) : Tensor();
}

}  // namespace

Recurrence recurrence_of(std::string_view nonlinearity) {
  WEFT_CHECK(nonlinearity == "tanh" || nonlinearity == "relu", "RNN: nonlinearity is \"{}\"; give \"tanh\" or \"relu\"",
             nonlinearity);
  return nonlinearity == "tanh" ? Recurrence::tanh : Recurrence::relu;
}

RecurrentStack::RecurrentStack(const RecurrentConfig& c) : config(c) {
  check_sizes(c.name, c.input_size, c.hidden_size);
  WEFT_CHECK(c.num_layers > 0, "{}: num_layers is {}; it must be positive", c.name, c.num_layers);
  WEFT_CHECK(c.proj_size >= 0 && c.proj_size < c.hidden_size,
             "{}: proj_size is {}; it must be smaller than hidden_size {}, or 0 for none", c.name, c.proj_size,
             c.hidden_size);
  check_probability(c.dropout);
  for (int64_t layer = 0; layer < c.num_layers; ++layer)
    for (int64_t d = 0; d < c.directions(); ++d)
      for (int which = 0; which < kWeights; ++which) {
        const Tensor w = make_weight(c, layer == 0 ? c.input_size : c.state_size() * c.directions(), which);
        weights_.push_back(w.defined() ? Parameter(w) : Parameter());
      }
  reset_parameters();
}
void RecurrentStack::reset_parameters() {
  for (Parameter& w : weights_)
    if (w.defined()) uniform_of_fan(w, config.hidden_size);
}
const Parameter& RecurrentStack::weight(int64_t layer, int64_t direction, int which) const {
  return weights_[static_cast<size_t>((layer * config.directions() + direction) * kWeights + which)];
}
void RecurrentStack::visit(MemberVisitor& v) {
  size_t at = 0;
  for (int64_t layer = 0; layer < config.num_layers; ++layer)
    for (int64_t d = 0; d < config.directions(); ++d)
      for (const char* name : kNames) {
        Parameter& w = weights_[at++];
        if (w.defined())
          v.tensor(std::string(name) + "_l" + std::to_string(layer) + (d == 1 ? "_reverse" : ""), w,
                   MemberVisitor::Kind::parameter);
      }
}
std::string RecurrentStack::repr() const {
  const RecurrentConfig& c = config;
  std::string s = std::to_string(c.input_size) + ", " + std::to_string(c.hidden_size);
  if (c.proj_size != 0) s += ", proj_size=" + std::to_string(c.proj_size);
  if (c.num_layers != 1) s += ", num_layers=" + std::to_string(c.num_layers);
  if (!c.bias) s += ", bias=False";
  if (c.batch_first) s += ", batch_first=True";
  if (c.dropout != 0) s += ", dropout=" + short_number(c.dropout);
  if (c.bidirectional) s += ", bidirectional=True";
  return s;
}

// x: rows of steps; states [layers * D, N, size]. Returns rows and states.
std::pair<Tensor, LstmState> RecurrentStack::run(Tensor x, const Tensor& batch_sizes, int64_t batch, const LstmState& s,
                                                 bool training) const {
  const RecurrentConfig& c = config;
  const bool lstm = c.kind == Recurrence::lstm;
  WEFT_CHECK(x.size(-1) == c.input_size, "{}: the last size of the input {} is not input_size {}", c.name, x,
             c.input_size);
  auto check_state = [&](const Tensor& t, int64_t size, const char* what) {
    const Dims sizes{c.num_layers * c.directions(), batch, size};
    WEFT_CHECK(!t.defined() || t.sizes() == sizes, "{}: the state {} is {}, expected {}", c.name, what, t, sizes);
  };
  check_state(s.h, c.state_size(), "h");
  check_state(s.c, c.hidden_size, "c");
  WEFT_CHECK(!lstm || s.h.defined() == s.c.defined(), "{}: a state needs h and c", c.name);
  const Tensor h0 = s.h.defined() ? Tensor() : state_zeros(batch, c.state_size(), x);
  const Tensor c0 = s.h.defined() || !lstm ? Tensor() : state_zeros(batch, c.hidden_size, x);
  std::vector<Tensor> h, cells;
  for (int64_t layer = 0; layer < c.num_layers; ++layer) {
    std::vector<Tensor> outputs;
    for (int64_t d = 0; d < c.directions(); ++d) {
      const int64_t at = layer * c.directions() + d;
      auto w = [&](int which) -> const Tensor& { return weight(layer, d, which); };
      RecurrentResult r = recurrent_layer(c.kind, x, batch_sizes, s.h.defined() ? s.h.select(0, at) : h0,
                                          s.c.defined() ? s.c.select(0, at) : c0,
                                          {w(kIh), w(kHh), w(kBiasIh), w(kBiasHh), w(kProjection)}, d == 1);
      outputs.push_back(r.output);
      h.push_back(r.h);
      cells.push_back(r.c);
    }
    x = outputs.size() == 1 ? outputs[0] : cat(outputs, 1);
    if (c.dropout > 0 && layer + 1 < c.num_layers) x = dropout(x, c.dropout, training);
  }
  auto stacked = [](const std::vector<Tensor>& all) { return all.size() == 1 ? all[0].unsqueeze(0) : stack(all); };
  return {x, {stacked(h), lstm ? stacked(cells) : Tensor()}};
}

std::pair<Tensor, LstmState> RecurrentStack::forward(const Tensor& input, const LstmState& s, bool training) const {
  WEFT_CHECK(input.defined() && (input.dim() == 2 || input.dim() == 3),
             "{}: the input needs 3 dimensions, or 2 without a batch, got {}", config.name, input);
  const bool batched = input.dim() == 3;
  Tensor x = batched ? input : input.unsqueeze(1);
  if (batched && config.batch_first) x = x.transpose(0, 1);
  const int64_t steps = x.size(0), batch = x.size(1);
  auto with_batch = [&](const Tensor& t, const char* what) {
    WEFT_CHECK(!t.defined() || t.dim() == input.dim(), "{}: for the input {} the state {} needs {} dimensions, got {}",
               config.name, input, what, input.dim(), t);
    return batched || !t.defined() ? t : t.unsqueeze(1);
  };
  auto [y, state] =
      run(x.reshape({steps * batch, x.size(2)}), {}, batch, {with_batch(s.h, "h"), with_batch(s.c, "c")}, training);
  y = y.view({steps, batch, y.size(1)});
  if (batched) return {config.batch_first ? y.transpose(0, 1) : y, state};
  return {y.squeeze(1), {state.h.squeeze(1), state.c.defined() ? state.c.squeeze(1) : Tensor()}};
}

std::pair<PackedSequence, LstmState> RecurrentStack::forward(const PackedSequence& x, const LstmState& s,
                                                             bool training) const {
  WEFT_CHECK(x.data.defined() && x.batch_sizes.defined() && x.batch_sizes.dim() == 1 && x.batch_sizes.numel() > 0,
             "{}: a packed sequence needs data and the batch sizes of its steps", config.name);
  auto permuted = [](const Tensor& t, const Tensor& order) {
    return t.defined() && order.defined() ? index_select(t, 1, order) : t;
  };
  const weft::detail::HostRead read("packed sequences: the host reads batch_sizes");
  auto [y, state] = run(x.data, x.batch_sizes, x.batch_sizes.select(0, 0).item<int64_t>(),
                        {permuted(s.h, x.sorted_indices), permuted(s.c, x.sorted_indices)}, training);
  return {{y, x.batch_sizes, x.sorted_indices, x.unsorted_indices},
          {permuted(state.h, x.unsorted_indices), permuted(state.c, x.unsorted_indices)}};
}

template <class Self>
CellLayer<Self>::CellLayer(const char* name, Recurrence kind, int64_t input_size, int64_t hidden_size, bool bias)
    : name(name), kind(kind) {
  check_sizes(name, input_size, hidden_size);
  const RecurrentConfig c{name, kind, input_size, hidden_size, 1, bias, false, 0, false};
  Parameter* members[4] = {&weight_ih, &weight_hh, &bias_ih, &bias_hh};
  for (int which = 0; which < 4; ++which) {
    static_cast<Tensor&>(*members[which]) = make_weight(c, input_size, which);
    this->register_parameter(kNames[which], *members[which]);
  }
  reset_parameters();
}
template <class Self>
void CellLayer<Self>::reset_parameters() {
  for (Parameter* w : {&weight_ih, &weight_hh, &bias_ih, &bias_hh})
    if (w->defined()) uniform_of_fan(*w, weight_hh.size(1));
}
template <class Self>
LstmState CellLayer<Self>::step(const Tensor& x, const LstmState& s) const {
  WEFT_CHECK(x.defined() && (x.dim() == 1 || x.dim() == 2),
             "{}: the input needs 2 dimensions, or 1 without a batch, got {}", name, x);
  WEFT_CHECK(x.size(-1) == weight_ih.size(1), "{}: the last size of the input {} is not input_size {}", name, x,
             weight_ih.size(1));
  const bool batched = x.dim() == 2, lstm = kind == Recurrence::lstm;
  const int64_t batch = batched ? x.size(0) : 1, hidden = weight_hh.size(1);
  auto state = [&](const Tensor& t, const char* what) {
    if (!t.defined()) return state_zeros(batch, hidden, x);
    const Dims sizes = batched ? Dims{batch, hidden} : Dims{hidden};
    WEFT_CHECK(t.sizes() == sizes, "{}: the state {} is {}, expected {}", name, what, t, sizes);
    return batched ? t : t.unsqueeze(0);
  };
  const RecurrentResult r =
      recurrent_layer(kind, batched ? x : x.unsqueeze(0), {}, state(s.h, "h"), lstm ? state(s.c, "c") : Tensor(),
                      {weight_ih, weight_hh, bias_ih, bias_hh});
  if (batched) return {r.h, r.c};
  return {r.h.squeeze(0), lstm ? r.c.squeeze(0) : Tensor()};
}
template <class Self>
std::string CellLayer<Self>::extra_repr() const {
  std::string s = std::to_string(weight_ih.size(1)) + ", " + std::to_string(weight_hh.size(1));
  if (!bias_ih.defined()) s += ", bias=False";
  if (kind == Recurrence::relu) s += ", nonlinearity=relu";
  return s;
}
template struct CellLayer<RNNCell>;
template struct CellLayer<GRUCell>;
template struct CellLayer<LSTMCell>;

}  // namespace detail
}  // namespace weft::nn
