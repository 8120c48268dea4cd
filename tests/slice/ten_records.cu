#include "core/ops/activation.h"
#include "core/ops/arithmetic.h"
#include "core/ops/transcendental.h"
#include "kernels/cuda/pointwise.cuh"
#include "tests/slice/ten_records.h"

namespace weft::slice {

std::span<const cuda::PointwiseEntry> ten_records() {
  using namespace ops;
  using cuda::entry;
  static constexpr cuda::PointwiseEntry entries[] = {
      entry<Add>("add"),   entry<Sub>("sub"),         entry<Mul>("mul"),
      entry<Div>("div"),   entry<Exp>("exp"),         entry<Log>("log"),
      entry<Tanh>("tanh"), entry<Sigmoid>("sigmoid"), entry<GeluTanh>("gelu_tanh"),
      entry<Relu>("relu"),
  };
  return entries;
}

}  // namespace weft::slice
