#include "tools/weft/modules.h"

// Recurrent layers and cells.
namespace weft::tools {
namespace {

Value value(const Tensor& t) { return t; }
Value value(const nn::LstmState& s) { return Value::tuple({s.h, s.c}); }
template <class State>
State state(const Args& a, size_t i) {
  if constexpr (std::is_same_v<State, Tensor>) {
    return a.optional_tensor(i);
  } else {
    if (a.none(i)) return {};
    const std::vector<Tensor> parts = a.tensors(i);
    WEFT_CHECK_TYPE(parts.size() == 2, "{}: the state of an LSTM is a pair", a.label(i));
    return {parts[0], parts[1]};
  }
}

template <class State, class M>
Built layer(M m) {
  return built<M>(std::move(m), "input, hx=None", [](M& f, const Args& a) -> Value {
    const State s = state<State>(a, 1);
    if (a.is_tensor(0)) {
      auto [y, end] = f(a.tensor(0), s);
      return Value::tuple({y, value(end)});
    }
    auto [y, end] = f(nn::packed_of(a[0]), s);
    return Value::tuple({nn::value_of(y), value(end)});
  });
}
template <class State, class M>
Built cell(M m) {
  return built<M>(std::move(m), "input, hx=None",
                  [](M& f, const Args& a) -> Value { return value(f(a.tensor(0), state<State>(a, 1))); });
}

const ModuleRow kRows[] = {
    {"RNN",
     "input_size, hidden_size, num_layers=1, nonlinearity='tanh', bias=True, batch_first=False, dropout=0.0, "
     "bidirectional=False, device=None, dtype=None",
     [](const Args& a) {
       return layer<Tensor>(nn::RNN(a.integer(0), a.integer(1),
                                    {.num_layers = a.integer(2),
                                     .nonlinearity = a.text(3),
                                     .bias = a.flag(4),
                                     .batch_first = a.flag(5),
                                     .dropout = a.real(6),
                                     .bidirectional = a.flag(7)}));
     }},
    {"GRU",
     "input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False, "
     "device=None, dtype=None",
     [](const Args& a) {
       return layer<Tensor>(nn::GRU(a.integer(0), a.integer(1),
                                    {.num_layers = a.integer(2),
                                     .bias = a.flag(3),
                                     .batch_first = a.flag(4),
                                     .dropout = a.real(5),
                                     .bidirectional = a.flag(6)}));
     }},
    {"LSTM",
     "input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False, "
     "proj_size=0, device=None, dtype=None",
     [](const Args& a) {
       return layer<nn::LstmState>(nn::LSTM(a.integer(0), a.integer(1),
                                            {.num_layers = a.integer(2),
                                             .bias = a.flag(3),
                                             .batch_first = a.flag(4),
                                             .dropout = a.real(5),
                                             .bidirectional = a.flag(6),
                                             .proj_size = a.integer(7)}));
     }},
    {"RNNCell", "input_size, hidden_size, bias=True, nonlinearity='tanh', device=None, dtype=None",
     [](const Args& a) {
       return cell<Tensor>(nn::RNNCell(a.integer(0), a.integer(1), {.bias = a.flag(2), .nonlinearity = a.text(3)}));
     }},
    {"GRUCell", "input_size, hidden_size, bias=True, device=None, dtype=None",
     [](const Args& a) { return cell<Tensor>(nn::GRUCell(a.integer(0), a.integer(1), {.bias = a.flag(2)})); }},
    {"LSTMCell", "input_size, hidden_size, bias=True, device=None, dtype=None",
     [](const Args& a) { return cell<nn::LstmState>(nn::LSTMCell(a.integer(0), a.integer(1), {.bias = a.flag(2)})); }},
};

}  // namespace

std::span<const ModuleRow> recurrent_rows() { return kRows; }

}  // namespace weft::tools
