#pragma once
#include <string>
#include <utility>
#include <vector>

#include "core/ops/recurrent.h"
#include "nn/module.h"
#include "nn/packed_sequence.h"

// Recurrent layers (torch.nn.RNN, ...). N sequences of T steps; D = 2 if bidirectional; all weights uniform in
// +- 1 / sqrt(hidden_size). Parameters have PyTorch's names: weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0,
// weight_hr_l0, "..._reverse" for the way back.
namespace weft::nn {

struct RnnOptions {
  int64_t num_layers = 1;
  std::string_view nonlinearity = "tanh";  ///< or "relu"
  bool bias = true;
  bool batch_first = false;  ///< input and output are [N, T, ...] instead of [T, N, ...]; states are not
  double dropout = 0;        ///< of the outputs of all layers but the last, in training
  bool bidirectional = false;
};
struct GruOptions {
  int64_t num_layers = 1;
  bool bias = true;
  bool batch_first = false;
  double dropout = 0;
  bool bidirectional = false;
};
struct LstmOptions {
  int64_t num_layers = 1;
  bool bias = true;
  bool batch_first = false;
  double dropout = 0;
  bool bidirectional = false;
  int64_t proj_size = 0;  ///< h has this size, W_hr (o tanh(c)), instead of hidden_size
};
struct LstmState {
  Tensor h, c;
};

namespace detail {
struct RecurrentConfig {
  const char* name;
  Recurrence kind;
  int64_t input_size, hidden_size, num_layers;
  bool bias, batch_first;
  double dropout;
  bool bidirectional;
  int64_t proj_size = 0;

  int64_t state_size() const { return proj_size > 0 ? proj_size : hidden_size; }
  int64_t directions() const { return bidirectional ? 2 : 1; }
};
Recurrence recurrence_of(std::string_view nonlinearity);

/// The layers of an RNN, LSTM or GRU: parameters and the way through them.
class RecurrentStack {
 public:
  explicit RecurrentStack(const RecurrentConfig& c);
  std::pair<Tensor, LstmState> forward(const Tensor& x, const LstmState& s, bool training) const;
  std::pair<PackedSequence, LstmState> forward(const PackedSequence& x, const LstmState& s, bool training) const;
  void reset_parameters();
  void visit(MemberVisitor& v);
  std::string repr() const;

  RecurrentConfig config;

 private:
  std::pair<Tensor, LstmState> run(Tensor x, const Tensor& batch_sizes, int64_t batch, const LstmState& s,
                                   bool training) const;
  const Parameter& weight(int64_t layer, int64_t direction, int which) const;
  std::vector<Parameter> weights_;  // of layer, direction: W_ih, W_hh, b_ih, b_hh, W_hr; undefined where there is none
};

template <class Self>
struct RecurrentLayer : Layer<Self> {
  explicit RecurrentLayer(const RecurrentConfig& c) : stack(c) {}
  void reset_parameters() { stack.reset_parameters(); }

  RecurrentStack stack;

 protected:
  void visit(MemberVisitor& v) override {
    Module::visit(v);
    stack.visit(v);
  }
  std::string extra_repr() const override { return stack.repr(); }
};
// RNN and GRU: the state is h alone.
template <class Self>
struct OneStateLayer : RecurrentLayer<Self> {
  using RecurrentLayer<Self>::RecurrentLayer;
  std::pair<Tensor, Tensor> forward(const Tensor& x, const Tensor& h = {}) const {
    auto [y, s] = this->stack.forward(x, {h, {}}, this->is_training());
    return {std::move(y), std::move(s.h)};
  }
  std::pair<PackedSequence, Tensor> forward(const PackedSequence& x, const Tensor& h = {}) const {
    auto [y, s] = this->stack.forward(x, {h, {}}, this->is_training());
    return {std::move(y), std::move(s.h)};
  }
};
}  // namespace detail

/// h = tanh(W_ih x + b_ih + W_hh h + b_hh), or relu (torch.nn.RNN): `auto [y, h] = rnn(x)` or `rnn(x, h)`.
/// x: [T, N, input_size], [T, input_size] or packed; h: [num_layers * D, N, hidden_size] (zeros by default), without
/// the N of an x without; y: [T, N, D * hidden_size].
struct RNN : detail::OneStateLayer<RNN> {
  RNN(int64_t input_size, int64_t hidden_size, const RnnOptions& o = {})
      : OneStateLayer({"RNN", detail::recurrence_of(o.nonlinearity), input_size, hidden_size, o.num_layers, o.bias,
                       o.batch_first, o.dropout, o.bidirectional}) {}
  RNN(Module& parent, std::string_view name, int64_t input_size, int64_t hidden_size, const RnnOptions& o = {})
      : RNN(input_size, hidden_size, o) {
    parent.register_module(name, *this);
  }
};
/// Gated recurrent units (torch.nn.GRU); shapes as for RNN.
struct GRU : detail::OneStateLayer<GRU> {
  GRU(int64_t input_size, int64_t hidden_size, const GruOptions& o = {})
      : OneStateLayer({"GRU", Recurrence::gru, input_size, hidden_size, o.num_layers, o.bias, o.batch_first, o.dropout,
                       o.bidirectional}) {}
  GRU(Module& parent, std::string_view name, int64_t input_size, int64_t hidden_size, const GruOptions& o = {})
      : GRU(input_size, hidden_size, o) {
    parent.register_module(name, *this);
  }
};
/// Long short-term memory (torch.nn.LSTM): `auto [y, state] = lstm(x)` or `lstm(x, LstmState{h, c})`; shapes as for
/// RNN, c as h; with a projection h and y have proj_size instead of hidden_size.
struct LSTM : detail::RecurrentLayer<LSTM> {
  LSTM(int64_t input_size, int64_t hidden_size, const LstmOptions& o = {})
      : RecurrentLayer({"LSTM", Recurrence::lstm, input_size, hidden_size, o.num_layers, o.bias, o.batch_first,
                        o.dropout, o.bidirectional, o.proj_size}) {}
  LSTM(Module& parent, std::string_view name, int64_t input_size, int64_t hidden_size, const LstmOptions& o = {})
      : LSTM(input_size, hidden_size, o) {
    parent.register_module(name, *this);
  }
  std::pair<Tensor, LstmState> forward(const Tensor& x, const LstmState& s = {}) const {
    return stack.forward(x, s, is_training());
  }
  std::pair<PackedSequence, LstmState> forward(const PackedSequence& x, const LstmState& s = {}) const {
    return stack.forward(x, s, is_training());
  }
};

struct CellOptions {
  bool bias = true;
};
struct RnnCellOptions {
  bool bias = true;
  std::string_view nonlinearity = "tanh";
};
namespace detail {
template <class Self>
struct CellLayer : Layer<Self> {
  CellLayer(const char* name, Recurrence kind, int64_t input_size, int64_t hidden_size, bool bias);
  void reset_parameters();

  const char* name;
  Recurrence kind;
  Parameter weight_ih, weight_hh, bias_ih, bias_hh;

 protected:
  LstmState step(const Tensor& x, const LstmState& s) const;
  std::string extra_repr() const override;
};
}  // namespace detail

/// One step (torch.nn.RNNCell): x [N, input_size] or [input_size], h [N, hidden_size] or [hidden_size] (zeros by
/// default) -> the next h.
struct RNNCell : detail::CellLayer<RNNCell> {
  RNNCell(int64_t input_size, int64_t hidden_size, const RnnCellOptions& o = {})
      : CellLayer("RNNCell", detail::recurrence_of(o.nonlinearity), input_size, hidden_size, o.bias) {}
  RNNCell(Module& parent, std::string_view name, int64_t input_size, int64_t hidden_size, const RnnCellOptions& o = {})
      : RNNCell(input_size, hidden_size, o) {
    parent.register_module(name, *this);
  }
  Tensor forward(const Tensor& x, const Tensor& h = {}) const { return step(x, {h, {}}).h; }
};
struct GRUCell : detail::CellLayer<GRUCell> {
  GRUCell(int64_t input_size, int64_t hidden_size, const CellOptions& o = {})
      : CellLayer("GRUCell", Recurrence::gru, input_size, hidden_size, o.bias) {}
  GRUCell(Module& parent, std::string_view name, int64_t input_size, int64_t hidden_size, const CellOptions& o = {})
      : GRUCell(input_size, hidden_size, o) {
    parent.register_module(name, *this);
  }
  Tensor forward(const Tensor& x, const Tensor& h = {}) const { return step(x, {h, {}}).h; }
};
struct LSTMCell : detail::CellLayer<LSTMCell> {
  LSTMCell(int64_t input_size, int64_t hidden_size, const CellOptions& o = {})
      : CellLayer("LSTMCell", Recurrence::lstm, input_size, hidden_size, o.bias) {}
  LSTMCell(Module& parent, std::string_view name, int64_t input_size, int64_t hidden_size, const CellOptions& o = {})
      : LSTMCell(input_size, hidden_size, o) {
    parent.register_module(name, *this);
  }
  LstmState forward(const Tensor& x, const LstmState& s = {}) const { return step(x, s); }
};

}  // namespace weft::nn
