#include "core/ops/cross_entropy.h"

#include "core/error.h"
#include "core/ops/math.h"
#include "core/row_wise.h"
#include "kernels/cpu/reduce_block.h"
#include "kernels/cpu/rows.h"

namespace weft::cpu {
namespace {

template <class T>
using Sum = reduction::Sum<T>;

// Class weights in the compute type; null: all 1.
template <class T>
struct Weights {
  Tensor held;
  const T* values = nullptr;
  T total;
  Weights(const Tensor& t, int64_t classes) : total(static_cast<T>(classes)) {
    if (!t.defined()) return;
    NoGrad guard;
    held = dense(t.detach().to(dtype_of<T>));
    values = static_cast<const T*>(held.data_ptr());
    total = reduce_row<Sum<T>>(values, classes);
  }
  T operator[](int64_t c) const { return values ? values[c] : T(1); }
};

template <class T>
T* wide(const Tensor& t) {
  return static_cast<T*>(t.data_ptr());
}

// Rows of a few classes share the vector loop of the exponentials.
constexpr int64_t kShort = 48, kBatch = 64;

// The largest value and the log of the sum of exponentials of `rows` <= kBatch rows; e holds rows * n values.
template <class T>
void short_rows(int64_t rows, int64_t n, const T* x, T* e, T* largest, T* log_sum) {
  reduction::rows<reduction::Max<T>, T>(
      rows, n, [=](int64_t r, int64_t i) { return x[r * n + i]; }, [=](int64_t r, T value) { largest[r] = value; });
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < n; ++i) e[r * n + i] = x[r * n + i] - largest[r];
  WEFT_VECTOR_LOOP
  for (int64_t k = 0; k < rows * n; ++k) e[k] = math::exp(e[k]);
  reduction::rows<Sum<T>, T>(
      rows, n, [=](int64_t r, int64_t i) { return e[r * n + i]; }, [=](int64_t r, T value) { log_sum[r] = value; });
  WEFT_VECTOR_LOOP
  for (int64_t r = 0; r < rows; ++r) log_sum[r] = math::log(log_sum[r]);
}

// What a row leaves for its gradient.
template <class T>
struct Largest {
  T value, log_sum;
};
template <class T>
Largest<T>* largest_of(const Tensor& t) {
  return static_cast<Largest<T>*>(t.data_ptr());
}

// With L = m + log sum exp(x - m), the loss of a row is (1 - s) w_t (L - x_t) + s / C sum_c w_c (L - x_c).
template <class T>
void losses_of_rows(const OpCall& c, T* losses, T* weights) {
  const auto& a = c.as<ClassLossAttrs>();
  const Tensor in[1] = {dense(c.in[0])};
  const Tensor target = dense(c.in[1]);
  const int64_t* t = target.data<int64_t>();
  const RowShape shape(in[0].sizes(), a.dim);
  const int64_t rows = target.numel(), classes = shape.n;
  const Weights<T> w(c.in[2], classes);
  Largest<T>* largest = largest_of<T>(c.out[1]);
  const T smoothing = static_cast<T>(a.smoothing);
  auto finish = [&](const T* x, T* e, int64_t n, int64_t row) {
    const T m = largest[row].value, ls = largest[row].log_sum;
    const int64_t k = t[row];
    if (k == a.ignore_index) {
      losses[row] = weights[row] = 0;
      return;
    }
    WEFT_CHECK_INDEX(k >= 0 && k < n,
                     "{}: target {} is not a class (there are {}); use ignore_index for rows to leave out", c.op.name,
                     k, n);
    T loss = w[k] * ((m - x[k]) + ls);
    if (a.smoothing > 0) {
      const T all = reduce_row_by<Sum<T>, T>(n, [&](int64_t first, int64_t count) {
        for (int64_t i = 0; i < count; ++i) e[i] = w[first + i] * ((m - x[first + i]) + ls);
        return e;
      });
      loss = (T(1) - smoothing) * loss + smoothing / static_cast<T>(n) * all;
    }
    losses[row] = loss;
    weights[row] = w[k];
  };
  if (a.logits && classes > 0 && classes <= kShort && shape.inner == 1 && in[0].dtype() == dtype_of<T>) {
    const T* x = static_cast<const T*>(in[0].data_ptr());
    parallel_for(rows, kBatch * std::max<int64_t>(1, 16384 / (kBatch * classes)), [&](int64_t begin, int64_t end) {
      T e[kBatch * kShort], m[kBatch], ls[kBatch];
      for (int64_t first = begin; first < end; first += kBatch) {
        const int64_t batch = std::min(kBatch, end - first);
        short_rows(batch, classes, x + first * classes, e, m, ls);
        for (int64_t r = 0; r < batch; ++r) {
          largest[first + r] = {m[r], ls[r]};
          finish(x + (first + r) * classes, e, classes, first + r);
        }
      }
    });
  } else {
    each_row<T>(shape, in, Tensor(), [&](const T* const* x_rows, T* e, int64_t n, int64_t row) {
      const T* x = x_rows[0];
      const T m = a.logits ? largest_number(x, n) : T(0);
      const T ls = !a.logits ? T(0) : math::log(reduce_row_by<Sum<T>, T>(n, [=](int64_t first, int64_t count) {
        WEFT_VECTOR_LOOP
        for (int64_t i = 0; i < count; ++i) e[i] = math::exp(x[first + i] - m);
        return e;
      }));
      largest[row] = {m, ls};
      finish(x, e, n, row);
    });
  }
  if (a.reduction == Reduction::none) converter(c.out[0].dtype(), dtype_of<T>)(c.out[0].data_ptr(), 1, losses, 1, rows);
}

template <class T>
void over_rows(const OpCall& c, const T* losses, const T* weights) {
  const auto& a = c.as<ClassLossAttrs>();
  const int64_t rows = c.in[1].numel();
  const T total = rows ? reduce_row<Sum<T>>(weights, rows) : T(0);
  *wide<T>(c.out[2]) = total;
  if (a.reduction == Reduction::none) return;
  T loss = rows ? reduce_row<Sum<T>>(losses, rows) : T(0);
  if (a.reduction == Reduction::mean) loss /= total;
  converter(c.out[0].dtype(), dtype_of<T>)(c.out[0].data_ptr(), 1, &loss, 1, 1);
}

template <class T>
void forward(const OpCall& c) {
  const int64_t rows = c.in[1].numel();
  T* losses = scratch<T>(Scratch::partial, 2 * rows);
  losses_of_rows(c, losses, losses + rows);
  over_rows(c, losses, losses + rows);
}
template <class T>
void block(const OpCall& c, const RowBlock& b) {
  T* losses = static_cast<T*>(b.partial) + b.first;
  losses_of_rows(c, losses, losses + b.all);
}
template <class T>
void finish(const OpCall& c, void* partial) {
  const T* losses = static_cast<const T*>(partial);
  over_rows(c, losses, losses + c.in[1].numel());
}

// With p = softmax(x) and W = sum w:  gx_c = g ((1 - s) w_t (p_c - [c = t]) + s / C (W p_c - w_c)); p = 0 for
// log-probabilities.
template <class T>
void backward(const OpCall& c) {
  const auto& a = c.as<ClassLossAttrs>();
  const Tensor x = dense(c.in[1]), target = dense(c.in[2]);
  Tensor gradient;
  {
    NoGrad guard;
    gradient = dense(c.in[0].to(dtype_of<T>));
  }
  const T* g = wide<T>(gradient);
  const int64_t* t = target.data<int64_t>();
  const RowShape shape(x.sizes(), a.dim);
  const Weights<T> w(c.in[3], shape.n);
  const Largest<T>* largest = largest_of<T>(c.in[4]);
  const T smoothing = static_cast<T>(a.smoothing), each = smoothing / static_cast<T>(shape.n);
  const T common = a.reduction == Reduction::none   ? T(0)
                   : a.reduction == Reduction::mean ? g[0] / *wide<T>(c.in[5])
                                                    : g[0];
  const Tensor in[1] = {x};
  each_row<T>(shape, in, c.out[0], [&](const T* const* x_rows, T* gx, int64_t n, int64_t row) {
    const int64_t k = t[row];
    if (k == a.ignore_index) {
      std::fill(gx, gx + n, T(0));
      return;
    }
    const T gr = a.reduction == Reduction::none ? g[row] : common, own = gr * (T(1) - smoothing) * w[k];
    if (a.logits) {
      const T m = largest[row].value, ls = largest[row].log_sum, scale = own + gr * each * w.total;
      const T* xr = x_rows[0];
      WEFT_VECTOR_LOOP
      for (int64_t i = 0; i < n; ++i) gx[i] = scale * math::exp(xr[i] - m - ls);
    } else {
      std::fill(gx, gx + n, T(0));
    }
    if (a.smoothing > 0)
      for (int64_t i = 0; i < n; ++i) gx[i] -= gr * each * w[i];
    gx[k] -= own;
  });
}

}  // namespace

void class_loss(const OpCall& c) { c.in[0].dtype() == DType::f64 ? forward<double>(c) : forward<float>(c); }
void class_loss_block(const OpCall& c, const RowBlock& b) {
  c.in[0].dtype() == DType::f64 ? block<double>(c, b) : block<float>(c, b);
}
void class_loss_finish(const OpCall& c, void* partial) {
  c.in[0].dtype() == DType::f64 ? finish<double>(c, partial) : finish<float>(c, partial);
}
void class_loss_backward(const OpCall& c) { c.in[1].dtype() == DType::f64 ? backward<double>(c) : backward<float>(c); }

}  // namespace weft::cpu
