#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "core/scalar.h"

// Products that the library cannot do: of integers, of empty sums, and whatever it has no algorithm for.
namespace weft::gpu {

/// A matrix, or a batch of them, anywhere in memory; strides in elements.
struct MatrixView {
  void* data = nullptr;
  int64_t row = 0, column = 0, batch = 0;
};

/// out [m, n] = alpha a [m, k] b [k, n] + beta addend [m, n], for every matrix of a batch. The addend may be `out`;
/// null: none.
struct ProductCall {
  int64_t m, n, k, batch;
  MatrixView a, b, addend, out;
  DType dtype;
  Scalar alpha = 1, beta = 0;
};

/// On any strides, sizes of 0 included; sums of 16-bit floats in f32, of integers wrapping.
void product(const ProductCall& call);

}  // namespace weft::gpu
