#include "core/ops/norm.h"

#include <cmath>

#include "kernels/cpu/reduce_block.h"
#include "kernels/cpu/rows.h"

namespace weft::cpu {
namespace {

// A parameter in the compute type; null when absent.
template <class T>
struct Parameter {
  Tensor held;
  const T* values = nullptr;
  explicit Parameter(const Tensor& t) {
    if (!t.defined()) return;
    NoGrad guard;
    held = dense(t.detach().to(dtype_of<T>));
    values = static_cast<const T*>(held.data_ptr());
  }
};

// Calls f(begin, end, value index) for the stretches of a row that share one value of weight and bias.
template <class F>
void stretches(const NormAttrs& a, int64_t row, F f) {
  const int64_t per_row = a.per_row(), first = row % a.cycle * per_row;
  for (int64_t k = 0; k < per_row; ++k) f(k * a.span, (k + 1) * a.span, first + k);
}

template <class T>
void forward(const OpCall& c) {
  const auto& a = c.as<NormAttrs>();
  const Tensor in[1] = {dense(c.in[0])};
  const Parameter<T> weight(c.in[1]), bias(c.in[2]);
  T* means = static_cast<T*>(c.out[1].data_ptr());
  T* scales = static_cast<T*>(c.out[2].data_ptr());
  const T *w = weight.values, *b = bias.values;
  const T count = static_cast<T>(a.n), eps = static_cast<T>(a.eps);
  each_row<T>(RowShape(a.rows, a.n), in, c.out[0], [=, &a](const T* const* rows, T* y, int64_t n, int64_t row) {
    const T* x = rows[0];
    T mean = 0;
    if (a.centred) mean = reduce_row<reduction::Sum<T>>(x, n) / count;
    prefetch_next_row(x, n);
    WEFT_VECTOR_LOOP
    for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * (x[i] - mean);
    const T scale = T(1) / std::sqrt(reduce_row<reduction::Sum<T>>(y, n) / count + eps);
    means[row] = mean;
    scales[row] = scale;
    if (a.span == 1 && a.cycle == 1) {
      if (w && b) {
        WEFT_VECTOR_LOOP
        for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * scale * w[i] + b[i];
      } else {
        WEFT_VECTOR_LOOP
        for (int64_t i = 0; i < n; ++i) y[i] = (x[i] - mean) * scale;
        if (w) {
          WEFT_VECTOR_LOOP
          for (int64_t i = 0; i < n; ++i) y[i] = y[i] * w[i];
        }
        if (b) {
          WEFT_VECTOR_LOOP
          for (int64_t i = 0; i < n; ++i) y[i] = y[i] + b[i];
        }
      }
      return;
    }
    stretches(a, row, [=](int64_t begin, int64_t end, int64_t k) {
      const T wk = w ? w[k] : T(1), bk = b ? b[k] : T(0);
      WEFT_VECTOR_LOOP
      for (int64_t i = begin; i < end; ++i) y[i] = (x[i] - mean) * scale * wk + bk;
    });
  });
}

// The gradients of one row. With h = (x - mean) scale and u = g w:
//   gx = scale (u - mean(u) - h mean(u h)); no mean(u) when not centred.   gw += g h, gb += g.
template <class T>
struct Gradient {
  const NormAttrs& a;
  const T *w, *means, *scales;

  void of_x(const T* gr, const T* xr, T* gx, int64_t row) const {
    const int64_t n = a.n;
    const T mean = means[row], scale = scales[row], count = static_cast<T>(n);
    T* u = scratch<T>(Scratch::staging, 2 * n);
    T* uh = u + n;
    if (!w) {
      WEFT_VECTOR_LOOP
      for (int64_t i = 0; i < n; ++i) u[i] = gr[i];
    } else if (a.span == 1 && a.cycle == 1) {
      WEFT_VECTOR_LOOP
      for (int64_t i = 0; i < n; ++i) u[i] = gr[i] * w[i];
    } else {
      stretches(a, row, [=, this](int64_t begin, int64_t end, int64_t k) {
        const T wk = w[k];
        for (int64_t i = begin; i < end; ++i) u[i] = gr[i] * wk;
      });
    }
    WEFT_VECTOR_LOOP
    for (int64_t i = 0; i < n; ++i) uh[i] = u[i] * ((xr[i] - mean) * scale);
    prefetch_next_row(gr, n);
    prefetch_next_row(xr, n);
    const T mean_uh = reduce_row<reduction::Sum<T>>(uh, n) / count;
    const T mean_u = a.centred ? reduce_row<reduction::Sum<T>>(u, n) / count : T(0);
    WEFT_VECTOR_LOOP
    for (int64_t i = 0; i < n; ++i) gx[i] = scale * (u[i] - mean_u - (xr[i] - mean) * scale * mean_uh);
  }

  void of_parameters(const T* gr, const T* xr, T* gw, T* gb, int64_t row) const {
    const T mean = means[row], scale = scales[row];
    if (a.span == 1 && a.cycle == 1) {
      WEFT_VECTOR_LOOP
      for (int64_t i = 0; i < a.n; ++i) {
        gw[i] += gr[i] * ((xr[i] - mean) * scale);
        gb[i] += gr[i];
      }
      return;
    }
    stretches(a, row, [=](int64_t first, int64_t last, int64_t k) {
      gw[k] += reduction::row<reduction::Sum<T>, T>(
          last - first, [=](int64_t i) { return gr[first + i] * ((xr[first + i] - mean) * scale); });
      gb[k] += reduction::row<reduction::Sum<T>, T>(last - first, [=](int64_t i) { return gr[first + i]; });
    });
  }
};

// gx, and of the parameters the sums over all rows that use a value: rows are summed in chunks whose number depends on
// the shape alone, then the chunks in order. Enough chunks for the threads make gx too, in the same pass over memory.
template <class T>
void backward(const OpCall& c) {
  const auto& a = c.as<NormAttrs>();
  const Tensor in[2] = {dense(c.in[0]), dense(c.in[1])}, nowhere;
  const Parameter<T> weight(c.in[2]);
  const Gradient<T> gradient{a, weight.values, static_cast<const T*>(c.in[3].data_ptr()),
                             static_cast<const T*>(c.in[4].data_ptr())};
  const RowShape shape(a.rows, a.n);
  const bool parameters = c.out[1].defined() || c.out[2].defined();
  const int64_t values = a.per_row() * a.cycle;
  const int64_t chunk = std::max<int64_t>(std::max<int64_t>(a.cycle, 16), (a.rows + 31) / 32),
                chunks = std::max<int64_t>(1, (a.rows + chunk - 1) / chunk);
  const bool together = parameters && c.out[0].defined() && chunks >= 16;
  if (c.out[0].defined() && !together)
    each_row<T>(shape, in, c.out[0],
                [&](const T* const* rows, T* gx, int64_t, int64_t row) { gradient.of_x(rows[0], rows[1], gx, row); });
  if (!parameters) return;
  T* sums = scratch<T>(Scratch::partial, 2 * chunks * values);
  parallel_for(chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t q = begin; q < end; ++q) {
      T* gw = sums + 2 * q * values;
      T* gb = gw + values;
      std::fill_n(gw, 2 * values, T(0));
      auto one = [&](const T* const* rows, T* gx, int64_t, int64_t row) {
        if (together) gradient.of_x(rows[0], rows[1], gx, row);
        gradient.of_parameters(rows[0], rows[1], gw, gb, row);
      };
      if (a.n > 0)
        some_rows<T>(shape, in, together ? c.out[0] : nowhere, 1, q * chunk, std::min(a.rows, (q + 1) * chunk), one);
    }
  });
  for (int64_t q = 1; q < chunks; ++q)
    for (int64_t i = 0; i < 2 * values; ++i) sums[i] += sums[2 * q * values + i];
  for (int k = 0; k < 2; ++k)
    if (const Tensor& out = c.out[1 + k]; out.defined())
      converter(out.dtype(), dtype_of<T>)(out.data_ptr(), 1, sums + k * values, 1, values);
}

}  // namespace

void normalize_rows(const OpCall& c) { c.in[0].dtype() == DType::f64 ? forward<double>(c) : forward<float>(c); }
void normalize_rows_backward(const OpCall& c) {
  c.in[1].dtype() == DType::f64 ? backward<double>(c) : backward<float>(c);
}

}  // namespace weft::cpu
