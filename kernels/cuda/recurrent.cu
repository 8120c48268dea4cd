#include "core/ops/recurrent.h"

#include <algorithm>
#include <vector>

#include "core/ops/transcendental.h"
#include "core/thread_state.h"
#include "kernels/cuda/allocator.h"
#include "kernels/cuda/blas.h"
#include "kernels/cuda/elements.cuh"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/product.h"

// A recurrent layer: the products with all inputs at once, then for every step one product with the state before it and
// one kernel for the nonlinearities. Everything is computed in f32, or f64.
namespace weft::gpu {
namespace {

template <class T>
Tensor widened(const Tensor& t) {
  if (!t.defined()) return t;
  NoGrad guard;
  return t.detach().to(kDTypeOf<T>).contiguous();
}
template <class T>
T* values(const Tensor& t) {
  return t.defined() ? static_cast<T*>(t.impl()->data) : nullptr;
}
// `out` itself, or a tensor of the compute type that store_back() rounds into it.
template <class T>
Tensor staged(const Tensor& out) {
  if (!out.defined() || out.dtype() == kDTypeOf<T>) return out;
  return weft::detail::allocate(out.sizes(), kDTypeOf<T>, out.device());
}
void store_back(Tensor out, const Tensor& from) {
  NoGrad guard;
  if (out.defined() && !out.is_same(from)) out.copy_(from);
}
template <class T>
void copy_values(T* to, const T* from, i64 n) {
  check(cudaMemcpyAsync(to, from, size_t(n) * sizeof(T), cudaMemcpyDeviceToDevice, current_stream()), "recurrent");
}

/// c [m, n] = a [m, k] b, with b [k, n], or [n, k] where `turned`. Rows follow one another. False: no algorithm.
bool try_product(DType in, DType out, const void* a, const void* b, bool turned, void* c, i64 m, i64 n, i64 k) {
  MatmulCall call{};
  call.m = n, call.n = m, call.k = k;
  call.a = b, call.b = a, call.d = c;
  call.lda = turned ? k : n, call.ldb = k, call.ldd = n;
  call.transpose_a = turned;
  call.in = in, call.out = out, call.compute = matmul_compute(in);
  return matmul(call, current_stream());
}
template <class T>
void product(const T* a, const T* b, bool turned, T* c, i64 m, i64 n, i64 k) {
  constexpr DType dtype = kDTypeOf<T>;
  if (k > 0 && try_product(dtype, dtype, a, b, turned, c, m, n, k)) return;
  ProductCall call{};
  call.m = m, call.n = n, call.k = k, call.batch = 1;
  call.a = {const_cast<T*>(a), k, 1, 0};
  call.b = {const_cast<T*>(b), turned ? 1 : n, turned ? k : 1, 0};
  call.out = {c, n, 1, 0};
  call.dtype = dtype;
  product(call);
}

// The time steps in the order in which they run: rows [offset, offset + size) of the sequences 0 .. size - 1.
struct Steps {
  struct Step {
    i64 offset, size;
  };
  std::vector<Step> all;

  Steps(const RecurrentAttrs& a, const Tensor& batch_sizes) {
    const i64 count = batch_sizes.defined() ? batch_sizes.numel() : a.rows / a.batch;
    const int64_t* sizes = batch_sizes.defined() ? weft::detail::host_data<int64_t>(batch_sizes) : nullptr;
    for (i64 t = 0, row = 0; t < count; ++t) {
      const i64 size = sizes ? sizes[t] : a.batch;
      all.push_back({row, size});
      row += size;
    }
    if (a.reverse) std::reverse(all.begin(), all.end());
  }
  i64 count() const { return i64(all.size()); }
  const Step& operator[](i64 k) const { return all[size_t(k)]; }

  /// The state before step k, a row per sequence: in place, or put together in `mixed` where sequences begin.
  template <class T>
  const T* before(i64 k, const T* states, const T* initial, i64 width, T* mixed) const {
    if (k == 0) return initial;
    const Step &now = (*this)[k], &last = (*this)[k - 1];
    const T* from = states + last.offset * width;
    if (last.size >= now.size) return from;
    copy_values(mixed, from, last.size * width);
    copy_values(mixed + last.size * width, initial + last.size * width, (now.size - last.size) * width);
    return mixed;
  }
  /// Of every sequence the state after its last step.
  template <class T>
  void finals(const T* states, i64 width, T* out) const {
    for (i64 k = 0; k < count(); ++k) {
      // What a later step writes again need not be copied.
      const Step& s = (*this)[k];
      const i64 kept = k + 1 < count() ? std::min((*this)[k + 1].size, s.size) : 0;
      if (s.size > kept) copy_values(out + kept * width, states + (s.offset + kept) * width, (s.size - kept) * width);
    }
  }
};

// ---- one step

template <class T>
struct CellArguments {
  T* gates;                        ///< W_ih x of the step's rows; with `keep` becomes what the nonlinearities gave
  const T *q, *bias_ih, *bias_hh;  ///< W_hh h; biases may be null
  const T* before;                 ///< gru: h, lstm: c, before the step
  T* kept;                         ///< gru: q_n, lstm: c
  T* h;                            ///< lstm: before a projection
  i64 size;
  u32 hidden;
  bool keep;
};

template <Recurrence kind, class T>
__global__ void __launch_bounds__(kThreads) cell(CellArguments<T> a) {
  constexpr int kGates = gates_of(kind);
  const i64 hidden = a.hidden;
  WEFT_FOR_EACH(i, a.size * hidden) {
    const i64 row = i / hidden, u = i - row * hidden;
    T* gates = a.gates + row * kGates * hidden + u;
    const T* from = a.q + row * kGates * hidden + u;
    T p[kGates], q[kGates];
#pragma unroll
    for (int v = 0; v < kGates; ++v) {
      p[v] = gates[v * hidden];
      q[v] = from[v * hidden];
      if (a.bias_ih) p[v] += a.bias_ih[v * hidden + u];
      if (a.bias_hh) q[v] += a.bias_hh[v * hidden + u];
    }
    T y[kGates], h;
    if constexpr (kind == Recurrence::lstm) {
#pragma unroll
      for (int v = 0; v < 4; ++v) y[v] = v == 2 ? math::tanh(q[v] + p[v]) : ops::Sigmoid::forward(T(q[v] + p[v]));
      const T c = math::fma(y[1], a.before[i], y[0] * y[2]);
      a.kept[i] = c;
      h = math::tanh(c) * y[3];
    } else if constexpr (kind == Recurrence::gru) {
      y[0] = ops::Sigmoid::forward(T(q[0] + p[0]));
      y[1] = ops::Sigmoid::forward(T(q[1] + p[1]));
      if (a.keep) a.kept[i] = q[2];
      y[2] = math::tanh(math::fma(y[0], q[2], p[2]));
      h = math::fma(y[1], a.before[i] - y[2], y[2]);
    } else {
      const T sum = q[0] + p[0];
      if constexpr (kind == Recurrence::tanh)
        h = math::tanh(sum);
      else
        h = sum < T(0) ? T(0) : sum;  // keeps NaN
      y[0] = h;
    }
    a.h[i] = h;
    if (!a.keep) continue;
#pragma unroll
    for (int v = 0; v < kGates; ++v) gates[v * hidden] = y[v];
  }
}

template <class T>
struct CellGradientArguments {
  const T* gates;
  const T* before;  ///< gru: h, lstm: c, before the step
  const T* kept;    ///< gru: q_n, lstm: c
  T* p;             ///< gradient of W_ih x
  T* q;             ///< gru: of W_hh h
  T* cell;          ///< lstm: gradient of c, which becomes that of the c before
  T* projected;     ///< lstm: becomes o tanh(c); may be null
};

/// Unit u of row `row`, `i` in arrays of rows of `hidden`; g: the gradient of h. The gradient of the h before, as far
/// as it does not pass through W_hh.
template <Recurrence kind, class T>
WEFT_FN T cell_gradient(const CellGradientArguments<T>& a, i64 row, i64 u, i64 hidden, T g) {
  const i64 i = row * hidden + u, at = row * gates_of(kind) * hidden + u;
  const T one = T(1);
  if constexpr (kind == Recurrence::lstm) {
    const T in = a.gates[at], f = a.gates[at + hidden], c = a.gates[at + 2 * hidden], o = a.gates[at + 3 * hidden];
    const T s = math::tanh(a.kept[i]), gc = a.cell[i] + g * o * (one - s * s);
    a.p[at] = gc * c * (in * (one - in));
    a.p[at + hidden] = gc * a.before[i] * (f * (one - f));
    a.p[at + 2 * hidden] = gc * in * (one - c * c);
    a.p[at + 3 * hidden] = g * s * (o * (one - o));
    a.cell[i] = gc * f;
    if (a.projected) a.projected[i] = o * s;
    return T(0);
  } else if constexpr (kind == Recurrence::gru) {
    const T r = a.gates[at], z = a.gates[at + hidden], fresh = a.gates[at + 2 * hidden];
    const T gn = g * (one - z) * (one - fresh * fresh);
    const T gr = gn * a.kept[i] * (r * (one - r));
    const T gz = g * (a.before[i] - fresh) * (z * (one - z));
    a.p[at] = gr;
    a.q[at] = gr;
    a.p[at + hidden] = gz;
    a.q[at + hidden] = gz;
    a.p[at + 2 * hidden] = gn;
    a.q[at + 2 * hidden] = gn * r;
    return g * z;
  } else if constexpr (kind == Recurrence::tanh) {
    const T y = a.gates[at];
    a.p[at] = g * (one - y * y);
    return T(0);
  } else {
    a.p[at] = a.gates[at] <= T(0) ? T(0) : g;
    return T(0);
  }
}

/// What the step after sends back (`sent` for the first `sent_size` sequences, may be null) reaches the gradient of h;
/// for the sequences of this step it is complete then, and what follows it starts from nothing (gru: from z g).
template <class T>
struct StepGradientArguments {
  const T *sent, *gy;
  T *gh, *projected_gradient;  ///< the second one: where a projection comes first
  i64 sent_size, size, touched;
  u32 state;
  CellGradientArguments<T> cell;
};
template <Recurrence kind, class T, bool projection>
__global__ void __launch_bounds__(kThreads) step_gradient(StepGradientArguments<T> a) {
  const i64 state = a.state;
  WEFT_FOR_EACH(i, a.touched * state) {
    const i64 row = i / state;
    T g = a.gh[i];
    if (row < a.sent_size) g += a.sent[i];
    if (row >= a.size) {
      a.gh[i] = g;
      continue;
    }
    if (a.gy) g += a.gy[i];
    if constexpr (projection) {
      a.gh[i] = T(0);
      a.projected_gradient[i] = g;
    } else {
      a.gh[i] = cell_gradient<kind>(a.cell, row, i - row * state, state, g);
    }
  }
}
/// The cells behind a projection, from the gradient `g` of what was projected.
template <class T>
__global__ void __launch_bounds__(kThreads)
    projected_cells(CellGradientArguments<T> a, const T* g, i64 size, u32 hidden) {
  WEFT_FOR_EACH(i, size * hidden) {
    const i64 row = i / hidden;
    cell_gradient<Recurrence::lstm>(a, row, i - row * hidden, i64(hidden), g[i]);
  }
}
template <class T>
__global__ void __launch_bounds__(kThreads) add_values(T* to, const T* from, i64 n) {
  WEFT_FOR_EACH(i, n) to[i] += from[i];
}

// ---- all steps

template <Recurrence kind, class T>
void forward(const OpCall& c) {
  const auto& a = c.as<RecurrentAttrs>();
  constexpr bool kLstm = kind == Recurrence::lstm, kGru = kind == Recurrence::gru;
  const i64 hidden = a.hidden, state = a.state, columns = gates_of(kind) * hidden;
  const Tensor h0 = widened<T>(c.in[1]), c0 = widened<T>(c.in[2]), w_hh = widened<T>(c.in[4]),
               bias_ih = widened<T>(c.in[5]), bias_hh = widened<T>(c.in[6]), w_hr = widened<T>(c.in[7]);
  const Tensor out = staged<T>(c.out[0]), h_end = staged<T>(c.out[1]), c_end = staged<T>(c.out[2]);
  T *y = values<T>(out), *gates = values<T>(c.out[3]), *kept = values<T>(c.out[4]);

  // Products of 16-bit floats are exact in f32: only the sums need it.
  const bool narrow = c.in[0].dtype() != kDTypeOf<T>;
  bool done = false;
  if (narrow && a.input > 0) {
    NoGrad guard;
    const Tensor x = c.in[0].detach().contiguous(), w_ih = c.in[3].detach().contiguous();
    done =
        try_product(x.dtype(), kDTypeOf<T>, x.impl()->data, w_ih.impl()->data, true, gates, a.rows, columns, a.input);
  }
  if (!done) {
    const Tensor x = widened<T>(c.in[0]), w_ih = widened<T>(c.in[3]);
    product(values<T>(x), values<T>(w_ih), true, gates, a.rows, columns, a.input);
  }

  const i64 unprojected = w_hr.defined() ? a.batch * hidden : 0;
  const Workspace space(size_t(a.batch * (columns + state + hidden) + unprojected) * sizeof(T));
  T *q = space.as<T>(), *mixed_h = q + a.batch * columns, *mixed_c = mixed_h + a.batch * state,
    *cells = mixed_c + a.batch * hidden;

  const Steps steps(a, c.in[8]);
  for (i64 k = 0; k < steps.count(); ++k) {
    const auto [offset, size] = steps[k];
    const T* h = steps.before(k, y, values<T>(h0), state, mixed_h);
    const T* before = kGru ? h : kLstm ? steps.before(k, kept, values<T>(c0), hidden, mixed_c) : nullptr;
    product(h, values<T>(w_hh), true, q, size, columns, state);
    T* to = unprojected ? cells : y + offset * state;
    launch(cell<kind, T>, grid_for(size * hidden), kThreads, 0, current_stream(),
           CellArguments<T>{gates + offset * columns, q, values<T>(bias_ih), values<T>(bias_hh), before,
                            kept ? kept + offset * hidden : nullptr, to, size, u32(hidden), a.keep});
    if (unprojected) product(to, values<T>(w_hr), true, y + offset * state, size, state, hidden);
  }
  steps.finals(y, state, values<T>(h_end));
  if (kLstm) steps.finals(kept, hidden, values<T>(c_end));
  for (int i = 0; i < 3; ++i) store_back(c.out[i], i == 0 ? out : i == 1 ? h_end : c_end);
}

// Back through time: at every step g_h = gradient of its output + what the step after sends back, W_hh^T g_q.
template <Recurrence kind, class T>
void backward(const OpCall& c) {
  const auto& a = c.as<RecurrentAttrs>();
  constexpr bool kLstm = kind == Recurrence::lstm, kGru = kind == Recurrence::gru;
  const i64 hidden = a.hidden, state = a.state, columns = gates_of(kind) * hidden;
  const Tensor g_out = widened<T>(c.in[0]), g_h = widened<T>(c.in[1]), g_c = widened<T>(c.in[2]),
               h0 = widened<T>(c.in[3]), c0 = widened<T>(c.in[4]), w_hh = widened<T>(c.in[5]),
               w_hr = widened<T>(c.in[6]), out = widened<T>(c.in[8]);
  T *gates = values<T>(c.in[9]), *kept = values<T>(c.in[10]), *gy = values<T>(g_out);
  T *p = values<T>(c.out[0]), *q = kGru ? values<T>(c.out[1]) : p, *gh = values<T>(c.out[2]), *gc = values<T>(c.out[3]),
    *before_h = values<T>(c.out[4]), *projected = values<T>(c.out[5]), *gm = values<T>(c.out[6]);
  auto start = [](T* to, const Tensor& from, const Tensor& like) {
    if (!like.defined()) return;
    if (from.defined()) return copy_values(to, values<T>(from), like.numel());
    check(cudaMemsetAsync(to, 0, size_t(like.numel()) * sizeof(T), current_stream()), "recurrent");
  };
  start(gh, g_h, c.out[2]);
  start(gc, g_c, c.out[3]);

  const bool projection = w_hr.defined();
  const Workspace space(size_t(a.batch * (state + state + hidden + hidden)) * sizeof(T));
  T *sent = space.as<T>(), *mixed_h = sent + a.batch * state, *mixed_c = mixed_h + a.batch * state,
    *unprojected = mixed_c + a.batch * hidden;

  const Steps steps(a, c.in[7]);
  auto send_back = [&](i64 k) {
    product(q + steps[k].offset * columns, values<T>(w_hh), false, sent, steps[k].size, state, columns);
  };
  for (i64 k = steps.count() - 1; k >= 0; --k) {
    const auto [offset, size] = steps[k];
    const T* h = steps.before(k, values<T>(out), values<T>(h0), state, mixed_h);
    copy_values(before_h + offset * state, h, size * state);
    const T* before = kGru ? h : kLstm ? steps.before(k, kept, values<T>(c0), hidden, mixed_c) : nullptr;
    const i64 after = k + 1 < steps.count() ? steps[k + 1].size : 0;
    if (after > 0) send_back(k + 1);
    StepGradientArguments<T> s{
        sent,
        gy ? gy + offset * state : nullptr,
        gh,
        gm ? gm + offset * state : nullptr,
        after,
        size,
        std::max(size, after),
        u32(state),
        {gates + offset * columns, before, kept ? kept + offset * hidden : nullptr, p + offset * columns,
         q + offset * columns, gc, projected ? projected + offset * hidden : nullptr}};
    if (!projection) {
      launch(step_gradient<kind, T, false>, grid_for(s.touched * state), kThreads, 0, current_stream(), s);
      continue;
    }
    launch(step_gradient<kind, T, true>, grid_for(s.touched * state), kThreads, 0, current_stream(), s);
    product(s.projected_gradient, values<T>(w_hr), false, unprojected, size, hidden, state);
    launch(projected_cells<T>, grid_for(size * hidden), kThreads, 0, current_stream(), s.cell, unprojected, size,
           u32(hidden));
  }
  send_back(0);
  launch(add_values<T>, grid_for(steps[0].size * state), kThreads, 0, current_stream(), gh, sent,
         steps[0].size * state);
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

}  // namespace weft::gpu
