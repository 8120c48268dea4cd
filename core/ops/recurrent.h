#pragma once
#include "core/dispatch.h"

// One direction of one layer of a recurrent network over a whole sequence (what torch.nn.RNN, LSTM and GRU are made
// of). With p_t = W_ih x_t + b_ih and q_t = W_hh h_(t-1) + b_hh:
//   tanh, relu   h = f(p + q)
//   lstm         i, f, o = sigmoid, g = tanh of the parts i f g o of p + q;  c = f c + i g;  h = W_hr (o tanh(c))
//   gru          r, z = sigmoid of the first parts of p + q;  n = tanh(p_n + r q_n);  h = (1 - z) n + z h
namespace weft {

enum class Recurrence : uint8_t { tanh, relu, lstm, gru };
/// Parts of the gates: 1, 1, 4, 3.
constexpr int gates_of(Recurrence kind) { return kind == Recurrence::lstm ? 4 : kind == Recurrence::gru ? 3 : 1; }

struct RecurrentWeights {
  Tensor ih;               ///< [gates * H, I]
  Tensor hh;               ///< [gates * H, P]
  Tensor bias_ih = {};     ///< [gates * H], or undefined
  Tensor bias_hh = {};     ///< [gates * H], or undefined
  Tensor projection = {};  ///< [P, H], for lstm; undefined: P = H
};
struct RecurrentResult {
  Tensor output;  ///< h of all steps, in the order of x: [rows, P]
  Tensor h;       ///< after the last step of every sequence: [N, P]
  Tensor c;       ///< lstm: [N, H]
};
/// x [rows, I] holds the steps one after the other: batch_sizes [T] (i64) says how many of the N sequences have a step
/// t, in an order in which none grows; undefined: all of them have; it stays on the host. h [N, P] and c [N, H] are the
/// state at the beginning. `reverse`: from the last step to the first. Errors: shapes or dtypes that do not fit, no
/// step at all.
RecurrentResult recurrent_layer(Recurrence kind, const Tensor& x, const Tensor& batch_sizes, const Tensor& h,
                                const Tensor& c, const RecurrentWeights& w, bool reverse = false);

namespace detail {
/// The same in public ops, for what the fused kernel does not give: derivatives of gradients.
RecurrentResult composite_recurrent_layer(Recurrence kind, const Tensor& x, const Tensor& batch_sizes, const Tensor& h,
                                          const Tensor& c, const RecurrentWeights& w, bool reverse);
}  // namespace detail

// ---- records
struct RecurrentAttrs {
  Recurrence kind;
  bool reverse;
  int64_t input, hidden, state;  ///< I, H, P
  int64_t rows, batch;           ///< rows of x, N
  bool keep;                     ///< the gates: backward will read them
};
/// Inputs: x, h, c, W_ih, W_hh, b_ih, b_hh, W_hr, batch_sizes. Outputs: output, h, c, the gates after their
/// nonlinearities [rows, gates * H] (unspecified unless `keep`), and [rows, H]: c of all steps (lstm), q_n (gru), else
/// undefined.
struct RecurrentOp {
  static const OpRecord record;
};
/// Inputs: gradients of the first three outputs, h, c, W_hh, W_hr, batch_sizes, then all outputs but h and c. Outputs:
/// gradients of p and q (one tensor but for gru: then undefined) and of h and c at the beginning, the h before each
/// step [rows, P]; with a projection: o tanh(c) [rows, H] and the gradient of h at each step [rows, P].
struct RecurrentBackwardOp {
  static const OpRecord record;
};

namespace cpu {
void recurrent(const OpCall& c);
void recurrent_backward(const OpCall& c);
}  // namespace cpu
namespace rules {
void recurrent(Node& n, const Tensor* g, Tensor* gin);
}  // namespace rules

}  // namespace weft
