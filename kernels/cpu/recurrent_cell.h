#pragma once
// The nonlinearities of one time step on a vector of hidden units, and their gradients. Formulas: core/ops/recurrent.h.
#include "core/ops/recurrent.h"
#include "core/ops/transcendental.h"
#include "kernels/cpu/vec.h"

namespace weft::cpu {

// Inlined: neighbouring calls then run side by side instead of one after the other.
template <class T, int n>
[[gnu::always_inline]] inline void sigmoid_of(T* x) {
  for (int i = 0; i < n; ++i) x[i] = ops::Sigmoid::forward(x[i]);
}
template <class T, int n>
[[gnu::always_inline]] inline void tanh_of(T* x) {
  for (int i = 0; i < n; ++i) x[i] = math::tanh(x[i]);
}

/// Where a vector of units lies in the first of some rows; rows are gates * hidden apart in `gates`, else hidden.
/// `gates`, of which the parts are `hidden` apart, holds W_ih x + b_ih and, with `keep`, becomes what the
/// nonlinearities gave.
template <class T>
struct CellPlace {
  T* gates;
  int64_t hidden;
  int64_t units;    ///< at most kLanes<T>
  const T* bias;    ///< b_hh, zeros where there is none
  const T* before;  ///< gru: h, lstm: c, before the step
  T* kept;          ///< gru: q_n, lstm: c
  T* h;             ///< lstm: before a projection
  bool keep;        ///< whether `gates` becomes anything
};

/// `q`: W_hh h of the units, a row kStep apart from the next, with one vector per gate; overwritten. Stage by stage for
/// all rows, since a row alone would wait for its own results.
template <Recurrence kind, int kStep, class T>
inline void cell(const CellPlace<T>& p, T* q, int rows) {
  constexpr int n = kLanes<T>, gates = gates_of(kind);
  const int64_t m = p.units, h = p.hidden;
  auto place = [&](int r, int v) { return p.gates + r * gates * h + v * h; };
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < gates; ++v) {
      T* to = q + r * kStep + v * n;
      const Vec<T> sum = load(to) + load_first(p.bias + v * h, m);
      store(to, kind == Recurrence::gru && v == 2 ? sum : sum + load_first(place(r, v), m));
    }
  if constexpr (kind == Recurrence::lstm) {
    for (int r = 0; r < rows; ++r) sigmoid_of<T, 2 * n>(q + r * kStep);
    for (int r = 0; r < rows; ++r) tanh_of<T, n>(q + r * kStep + 2 * n);
    for (int r = 0; r < rows; ++r) sigmoid_of<T, n>(q + r * kStep + 3 * n);
    for (int r = 0; r < rows; ++r) {
      T* at = q + r * kStep;
      for (int v = 0; p.keep && v < gates; ++v) store_first(place(r, v), load(at + v * n), m);
      const Vec<T> c = fma<T>(load(at + n), load_first(p.before + r * h, m), load(at) * load(at + 2 * n));
      store_first(p.kept + r * h, c, m);
      store(at, c);
    }
    for (int r = 0; r < rows; ++r) tanh_of<T, n>(q + r * kStep);
    for (int r = 0; r < rows; ++r) store_first(p.h + r * h, load(q + r * kStep) * load(q + r * kStep + 3 * n), m);
    return;
  } else if constexpr (kind == Recurrence::gru) {
    for (int r = 0; r < rows; ++r) sigmoid_of<T, 2 * n>(q + r * kStep);
    for (int r = 0; r < rows; ++r) {
      T* at = q + r * kStep;
      if (p.keep) store_first(p.kept + r * h, load(at + 2 * n), m);
      store(at + 2 * n, fma<T>(load(at), load(at + 2 * n), load_first(place(r, 2), m)));
    }
    for (int r = 0; r < rows; ++r) tanh_of<T, n>(q + r * kStep + 2 * n);
    for (int r = 0; r < rows; ++r) {
      const Vec<T> fresh = load(q + r * kStep + 2 * n);
      store_first(p.h + r * h, fma<T>(load(q + r * kStep + n), load_first(p.before + r * h, m) - fresh, fresh), m);
    }
  } else {
    for (int r = 0; r < rows; ++r) {
      T* at = q + r * kStep;
      if constexpr (kind == Recurrence::tanh) {
        tanh_of<T, n>(at);
      } else {
        for (int i = 0; i < n; ++i) at[i] = at[i] < T(0) ? T(0) : at[i];  // keeps NaN
      }
      store_first(p.h + r * h, load(at), m);
    }
  }
  if (!p.keep) return;
  for (int r = 0; r < rows; ++r)
    for (int v = 0; v < gates; ++v) store_first(place(r, v), load(q + r * kStep + v * n), m);
}

template <class T>
struct CellGradientPlace {
  const T* gates;
  int64_t hidden;
  int64_t units;
  const T* before;  ///< gru: h, lstm: c, before the step
  const T* kept;    ///< gru: q_n, lstm: c
  T* p;             ///< gradient of W_ih x, its parts `hidden` apart
  T* q;             ///< gru: of W_hh h
  T* cell;          ///< lstm: gradient of c, which becomes that of the c before
  T* h;             ///< gru: gradient of the h before, as far as it does not pass through W_hh
  T* projected;     ///< lstm: becomes o tanh(c); may be null
};

/// `g`: the gradient of h.
template <Recurrence kind, class T>
inline void cell_gradient(const CellGradientPlace<T>& a, Vec<T> g) {
  constexpr int n = kLanes<T>;
  const int64_t m = a.units;
  const Vec<T> one = splat<T>(T(1));
  auto gate = [&](int v) { return load_first(a.gates + v * a.hidden, m); };
  if constexpr (kind == Recurrence::lstm) {
    const Vec<T> i = gate(0), f = gate(1), c = gate(2), o = gate(3);
    T squashed[n];
    store(squashed, load_first(a.kept, m));
    tanh_of<T, n>(squashed);
    const Vec<T> s = load(squashed), gc = load_first(a.cell, m) + g * o * (one - s * s);
    store_first(a.p, gc * c * (i * (one - i)), m);
    store_first(a.p + a.hidden, gc * load_first(a.before, m) * (f * (one - f)), m);
    store_first(a.p + 2 * a.hidden, gc * i * (one - c * c), m);
    store_first(a.p + 3 * a.hidden, g * s * (o * (one - o)), m);
    store_first(a.cell, gc * f, m);
    if (a.projected) store_first(a.projected, o * s, m);
  } else if constexpr (kind == Recurrence::gru) {
    const Vec<T> r = gate(0), z = gate(1), fresh = gate(2);
    const Vec<T> gn = g * (one - z) * (one - fresh * fresh);
    const Vec<T> gr = gn * load_first(a.kept, m) * (r * (one - r));
    const Vec<T> gz = g * (load_first(a.before, m) - fresh) * (z * (one - z));
    store_first(a.p, gr, m);
    store_first(a.q, gr, m);
    store_first(a.p + a.hidden, gz, m);
    store_first(a.q + a.hidden, gz, m);
    store_first(a.p + 2 * a.hidden, gn, m);
    store_first(a.q + 2 * a.hidden, gn * r, m);
    store_first(a.h, g * z, m);
  } else if constexpr (kind == Recurrence::tanh) {
    const Vec<T> y = gate(0);
    store_first(a.p, g * (one - y * y), m);
  } else {
    const Vec<T> y = gate(0);
    store_first(a.p, y <= Vec<T>{} ? Vec<T>{} : g, m);
  }
}

}  // namespace weft::cpu
