#include "tests/slice/loops.h"

#include <stdexcept>
#include <utility>

#include "core/ops/activation.h"
#include "core/ops/arithmetic.h"
#include "core/ops/softmax_row.h"
#include "core/ops/transcendental.h"

namespace weft::slice {
namespace {

template <class Op, class T>
void loop(const T* a, const T* b, T alpha, T* y, i64 n) {
  WEFT_VECTOR_LOOP
  for (i64 i = 0; i < n; ++i) {
    if constexpr (Op::arity == 1)
      y[i] = Op::forward(a[i]);
    else if constexpr (Op::params == 1)
      y[i] = Op::forward(a[i], b[i], alpha);
    else
      y[i] = Op::forward(a[i], b[i]);
  }
}

}  // namespace

template <class T>
Loop<T> find_loop(std::string_view record) {
  const std::pair<std::string_view, Loop<T>> loops[] = {
      {"Add", loop<ops::Add, T>},           {"Sub", loop<ops::Sub, T>},   {"Mul", loop<ops::Mul, T>},
      {"Div", loop<ops::Div, T>},           {"Exp", loop<ops::Exp, T>},   {"Log", loop<ops::Log, T>},
      {"Tanh", loop<ops::Tanh, T>},         {"Relu", loop<ops::Relu, T>}, {"Sigmoid", loop<ops::Sigmoid, T>},
      {"GeluTanh", loop<ops::GeluTanh, T>},
  };
  for (const auto& [name, function] : loops)
    if (name == record) return function;
  throw std::runtime_error("no loop");
}

template <class T>
void softmax_row(i64 n, const T* x, T* y) {
  softmax::forward_row(n, x, y);
}

template <class T>
void tiled_softmax_row(i64 n, const T* x, T* y) {
  auto reduce = [&]<class Combine>(Combine, const T* v) {
    auto block = [&](i64 start, i64 size) {
      T lanes[reduction::kLanes];
      reduction::clear_lanes<Combine>(lanes);
      for (i64 t = 0; t < size; t += 512)
        reduction::fill_lanes<Combine>(lanes, size - t < 512 ? size - t : 512, [&](i64 i) { return v[start + t + i]; });
      return reduction::tree<Combine>(lanes);
    };
    i64 blocks = reduction::block_count(n);
    if (blocks <= 1) return block(0, n);
    return reduction::block<Combine, T>(
        blocks, [&](i64 b) { return block(b * reduction::kBlock, reduction::block_size(n, b)); });
  };
  T largest = reduce(reduction::Max<T>{}, x);
  for (i64 t = 0; t < n; t += 512)
    for (i64 i = t; i < n && i < t + 512; ++i) y[i] = softmax::weight(x[i], largest);
  T sum = reduce(reduction::Sum<T>{}, y);
  for (i64 i = 0; i < n; ++i) y[i] = y[i] / sum;
}

template Loop<float> find_loop(std::string_view);
template Loop<double> find_loop(std::string_view);
template void softmax_row(i64, const float*, float*);
template void softmax_row(i64, const double*, double*);
template void tiled_softmax_row(i64, const float*, float*);
template void tiled_softmax_row(i64, const double*, double*);

}  // namespace weft::slice
