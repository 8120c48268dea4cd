#include "core/ops/recurrent.h"

#include <cstring>
#include <optional>
#include <type_traits>
#include <vector>

#include "kernels/cpu/gemm.h"
#include "kernels/cpu/recurrent_cell.h"
#include "kernels/cpu/recurrent_panel.h"
#include "kernels/cpu/rows.h"

// A step is one parallel loop over blocks of hidden units: a piece multiplies its columns of W_hh and finishes the
// units with the nonlinearities; steps wait for each other. Sums run over k in order, so the cut of the work does not
// show in the result.
namespace weft::cpu {
namespace {

template <class T>
Tensor widened(const Tensor& t) {
  if (!t.defined()) return t;
  NoGrad guard;
  return dense(t.detach().to(dtype_of<T>));
}
template <class T>
T* values(const Tensor& t) {
  return t.defined() ? static_cast<T*>(t.data_ptr()) : nullptr;
}
// `out` itself, or a tensor of the compute type that store_back() rounds into it.
template <class T>
Tensor staged(const Tensor& out) {
  if (!out.defined() || out.dtype() == dtype_of<T>) return out;
  return weft::detail::allocate(out.sizes(), dtype_of<T>, out.device());
}
template <class T>
void store_back(const Tensor& out, const Tensor& from) {
  if (out.defined() && !out.is_same(from))
    converter(out.dtype(), dtype_of<T>)(out.data_ptr(), 1, from.data_ptr(), 1, out.numel());
}

// The time steps in the order in which they run: rows [offset, offset + size) of the sequences 0 .. size - 1.
struct Steps {
  struct Step {
    int64_t offset, size;
  };
  std::vector<Step> all;

  Steps(const RecurrentAttrs& a, const Tensor& batch_sizes) {
    const int64_t count = batch_sizes.defined() ? batch_sizes.numel() : a.rows / a.batch;
    for (int64_t t = 0, row = 0; t < count; ++t) {
      const int64_t size = batch_sizes.defined() ? batch_sizes.data<int64_t>()[t] : a.batch;
      all.push_back({row, size});
      row += size;
    }
    if (a.reverse) std::reverse(all.begin(), all.end());
  }
  int64_t count() const { return static_cast<int64_t>(all.size()); }
  const Step& operator[](int64_t k) const { return all[static_cast<size_t>(k)]; }

  /// The state before step k, a row per sequence: in place, or put together in `mixed` where sequences begin.
  template <class T>
  const T* before(int64_t k, const T* states, const T* initial, int64_t width, std::vector<T>& mixed) const {
    if (k == 0) return initial;
    const Step &now = (*this)[k], &last = (*this)[k - 1];
    const T* from = states + last.offset * width;
    if (last.size >= now.size) return from;
    mixed.assign(from, from + last.size * width);
    mixed.insert(mixed.end(), initial + last.size * width, initial + now.size * width);
    return mixed.data();
  }
  /// Of every sequence the state after its last step.
  template <class T>
  void finals(const T* states, int64_t width, T* out) const {
    for (const Step& s : all)
      std::memcpy(out, states + s.offset * width, static_cast<size_t>(s.size * width) * sizeof(T));
  }
};

// Calls f(block, first row, end of the rows) for all blocks of `p` and all rows, in parallel.
constexpr int64_t kRowsOfPiece = 16 * kTileRows;
template <class P, class F>
void each_piece(const P& p, int64_t rows, F f) {
  constexpr int64_t kWork = 1 << 18;  // multiplications that are worth a piece
  const int64_t chunks = (rows + kRowsOfPiece - 1) / kRowsOfPiece;
  const int64_t cost = std::max<int64_t>(1, std::min(rows, kRowsOfPiece) * p.k() * P::kWide);
  parallel_for(p.blocks() * chunks, std::max<int64_t>(1, kWork / cost), [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i % chunks * kRowsOfPiece;
      f(i / chunks, row, std::min(rows, row + kRowsOfPiece));
    }
  });
}

// Calls f(first unit, units) for the vectors of a block.
template <class T, class P, class F>
void vectors(const P& p, int64_t block, F f) {
  const int64_t end = p.first(block) + p.count(block);
  for (int64_t u = p.first(block); u < end; u += kLanes<T>) f(u, std::min<int64_t>(kLanes<T>, end - u));
}

template <Recurrence kind, class T>
void forward(const OpCall& c) {
  const auto& a = c.as<RecurrentAttrs>();
  constexpr bool kLstm = kind == Recurrence::lstm, kGru = kind == Recurrence::gru;
  constexpr int64_t kGates = gates_of(kind);
  const int64_t hidden = a.hidden, state = a.state, columns = kGates * hidden;
  const Tensor x = widened<T>(c.in[0]), h0 = widened<T>(c.in[1]), c0 = widened<T>(c.in[2]), w_ih = widened<T>(c.in[3]),
               w_hh = widened<T>(c.in[4]), bias_ih = widened<T>(c.in[5]), bias_hh = widened<T>(c.in[6]),
               w_hr = widened<T>(c.in[7]);
  const Tensor out = staged<T>(c.out[0]), h_end = staged<T>(c.out[1]), c_end = staged<T>(c.out[2]);
  T *y = values<T>(out), *gates = values<T>(c.out[3]), *kept = values<T>(c.out[4]);

  kernels::Gemm in;
  in.m = a.rows, in.n = columns, in.k = a.input;
  in.a = x.data_ptr(), in.a_rs = a.input, in.a_cs = 1;
  in.b = w_ih.data_ptr(), in.b_rs = 1, in.b_cs = a.input;
  in.c = gates, in.ldc = columns, in.dtype = dtype_of<T>, in.bias = values<T>(bias_ih);
  kernels::gemm(in);

  const Panels<T, kGates == 1 ? 4 : kGates> recurrent(values<T>(w_hh), kGates, hidden, state, state, 1);
  std::optional<Panels<T, 4>> projection;
  if (w_hr.defined()) projection.emplace(values<T>(w_hr), 1, state, hidden, hidden, 1);
  std::vector<T> no_bias, unprojected, mixed_h, mixed_c;
  if (!bias_hh.defined()) no_bias.resize(static_cast<size_t>(columns));
  const T* bias = bias_hh.defined() ? values<T>(bias_hh) : no_bias.data();
  if (projection) unprojected.resize(static_cast<size_t>(a.batch * hidden));

  const Steps steps(a, c.in[8]);
  for (int64_t k = 0; k < steps.count(); ++k) {
    const auto [offset, size] = steps[k];
    const T* h = steps.before(k, y, values<T>(h0), state, mixed_h);
    const T* before = kGru ? h : kLstm ? steps.before(k, kept, values<T>(c0), hidden, mixed_c) : nullptr;
    T* to = projection ? unprojected.data() : y + offset * state;
    each_piece(recurrent, size, [&, offset = offset](int64_t block, int64_t first, int64_t end) {
      const auto finish = [&](int64_t row, int count, T* tile) {
        const int64_t n = first + row, at = (offset + n) * hidden;
        T* q = tile;
        vectors<T>(recurrent, block, [&](int64_t u, int64_t units) {
          cell<kind, std::decay_t<decltype(recurrent)>::kWide>(
              CellPlace<T>{gates + (offset + n) * columns + u, hidden, units, bias + u,
                           before ? before + n * hidden + u : nullptr, kept ? kept + at + u : nullptr,
                           to + n * hidden + u, a.keep},
              q, count);
          q += kLanes<T>;
        });
      };
      const int64_t bytes = recurrent.count(block) * static_cast<int64_t>(sizeof(T));
      recurrent.multiply(block, h + first * state, end - first, finish, [&](int64_t row) {
        const T* from = gates + (offset + first + row) * columns + recurrent.first(block);
        for (int64_t v = 0; v < kGates; ++v) prefetch(from + v * hidden, bytes);
      });
    });
    if (!projection) continue;
    const auto& p = *projection;
    each_piece(p, size, [&, offset = offset](int64_t block, int64_t first, int64_t end) {
      p.multiply(block, to + first * hidden, end - first, [&](int64_t row, int count, const T* tile) {
        for (int r = 0; r < count; ++r)
          std::memcpy(y + (offset + first + row + r) * state + p.first(block), tile + r * p.kWide,
                      static_cast<size_t>(p.count(block)) * sizeof(T));
      });
    });
  }
  steps.finals(y, state, values<T>(h_end));
  if (kLstm) steps.finals(kept, hidden, values<T>(c_end));
  for (int i = 0; i < 3; ++i) store_back<T>(c.out[i], i == 0 ? out : i == 1 ? h_end : c_end);
}

// Back through time: at every step g_h = gradient of its output + what the step after sends back, W_hh^T g_q.
template <Recurrence kind, class T>
void backward(const OpCall& c) {
  const auto& a = c.as<RecurrentAttrs>();
  constexpr bool kLstm = kind == Recurrence::lstm, kGru = kind == Recurrence::gru;
  constexpr int64_t kGates = gates_of(kind);
  const int64_t hidden = a.hidden, state = a.state, columns = kGates * hidden;
  const Tensor g_out = widened<T>(c.in[0]), g_h = widened<T>(c.in[1]), g_c = widened<T>(c.in[2]),
               h0 = widened<T>(c.in[3]), c0 = widened<T>(c.in[4]), w_hh = widened<T>(c.in[5]),
               w_hr = widened<T>(c.in[6]), out = widened<T>(c.in[8]);
  const T *gates = values<T>(c.in[9]), *kept = values<T>(c.in[10]), *gy = values<T>(g_out);
  T *p = values<T>(c.out[0]), *q = kGru ? values<T>(c.out[1]) : p, *gh = values<T>(c.out[2]), *gc = values<T>(c.out[3]),
    *before_h = values<T>(c.out[4]), *projected = values<T>(c.out[5]), *gm = values<T>(c.out[6]);
  auto start = [](T* to, const Tensor& from, const Tensor& like) {
    if (!like.defined()) return;
    const size_t bytes = static_cast<size_t>(like.numel()) * sizeof(T);
    from.defined() ? std::memcpy(to, from.data_ptr(), bytes) : std::memset(to, 0, bytes);
  };
  start(gh, g_h, c.out[2]);
  start(gc, g_c, c.out[3]);

  const Panels<T, 4> recurrent(values<T>(w_hh), 1, state, columns, 1, state);
  std::optional<Panels<T, 4>> projection;
  if (w_hr.defined()) projection.emplace(values<T>(w_hr), 1, hidden, state, 1, hidden);

  const Steps steps(a, c.in[7]);
  std::vector<T> mixed_h, mixed_c;
  // gh += g_q of step k times W_hh, for columns of `block`.
  auto send_back = [&](int64_t k, int64_t block, int64_t first, int64_t end) {
    const auto [offset, size] = steps[k];
    end = std::min(end, size);
    if (first >= end) return;
    recurrent.multiply(block, q + (offset + first) * columns, end - first, [&](int64_t row, int count, const T* tile) {
      for (int r = 0; r < count; ++r) {
        const T* from = tile + r * recurrent.kWide;
        vectors<T>(recurrent, block, [&](int64_t u, int64_t units) {
          T* to = gh + (first + row + r) * state + u;
          store_first(to, load_first(to, units) + load(from), units);
          from += kLanes<T>;
        });
      }
    });
  };
  for (int64_t k = steps.count() - 1; k >= 0; --k) {
    const auto [offset, size] = steps[k];
    const T* h = steps.before(k, values<T>(out), values<T>(h0), state, mixed_h);
    std::memcpy(before_h + offset * state, h, static_cast<size_t>(size * state) * sizeof(T));
    const T* before = kGru ? h : kLstm ? steps.before(k, kept, values<T>(c0), hidden, mixed_c) : nullptr;
    auto gradient = [&, offset = offset](int64_t n, int64_t u, int64_t units, Vec<T> g) {
      const int64_t row = offset + n, at = row * hidden + u, gate = row * columns + u, here = n * hidden + u;
      cell_gradient<kind>(CellGradientPlace<T>{gates + gate, hidden, units, before ? before + here : nullptr,
                                               kept ? kept + at : nullptr, p + gate, q + gate, gc ? gc + here : nullptr,
                                               gh + here, projected ? projected + at : nullptr},
                          g);
    };
    // What the step after sends back, also to sequences that begin with it; then the gradient of h of this step is
    // complete, and what follows it starts from nothing (gru: from z g).
    const bool last = k + 1 == steps.count();
    const int64_t touched = last ? size : std::max(size, steps[k + 1].size);
    each_piece(recurrent, touched, [&, offset = offset, size = size](int64_t block, int64_t first, int64_t end) {
      if (!last) send_back(k + 1, block, first, end);
      for (int64_t n = first; n < std::min(end, size); ++n)
        vectors<T>(recurrent, block, [&](int64_t u, int64_t units) {
          T* back = gh + n * state + u;
          Vec<T> g = load_first(back, units);
          if (gy) g += load_first(gy + (offset + n) * state + u, units);
          store_first(back, Vec<T>{}, units);
          if (projection)
            store_first(gm + (offset + n) * state + u, g, units);
          else
            gradient(n, u, units, g);
        });
    });
    if (!projection) continue;
    const auto& w = *projection;
    each_piece(w, size, [&, offset = offset](int64_t block, int64_t first, int64_t end) {
      w.multiply(block, gm + (offset + first) * state, end - first, [&](int64_t row, int count, const T* tile) {
        for (int r = 0; r < count; ++r) {
          const T* g = tile + r * w.kWide;
          vectors<T>(w, block, [&](int64_t u, int64_t units) {
            gradient(first + row + r, u, units, load(g));
            g += kLanes<T>;
          });
        }
      });
    });
  }
  each_piece(recurrent, steps[0].size,
             [&](int64_t block, int64_t first, int64_t end) { send_back(0, block, first, end); });
}

// f(Kind<kind>{}) by the kind of the call.
template <class F>
void for_kind(Recurrence kind, F f) {
  switch (kind) {
    case Recurrence::tanh:
      return f(std::integral_constant<Recurrence, Recurrence::tanh>{});
    case Recurrence::relu:
      return f(std::integral_constant<Recurrence, Recurrence::relu>{});
    case Recurrence::lstm:
      return f(std::integral_constant<Recurrence, Recurrence::lstm>{});
    case Recurrence::gru:
      return f(std::integral_constant<Recurrence, Recurrence::gru>{});
  }
}

}  // namespace

void recurrent(const OpCall& c) {
  for_kind(c.as<RecurrentAttrs>().kind, [&](auto kind) {
    c.in[0].dtype() == DType::f64 ? forward<decltype(kind)::value, double>(c)
                                  : forward<decltype(kind)::value, float>(c);
  });
}
void recurrent_backward(const OpCall& c) {
  for_kind(c.as<RecurrentAttrs>().kind, [&](auto kind) {
    c.in[9].dtype() == DType::f64 ? backward<decltype(kind)::value, double>(c)
                                  : backward<decltype(kind)::value, float>(c);
  });
}

}  // namespace weft::cpu
