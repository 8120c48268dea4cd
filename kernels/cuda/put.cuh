#pragma once

#include "core/ops/gather.h"
#include "kernels/cuda/index_ref.cuh"
#include "kernels/cuda/walk.cuh"

namespace weft::gpu {

/// x[... index ...] = (or +=, *=) values, for scatter and index_put.
struct Put {
  Tensor x, index, values;  ///< values has the index's dimensions, and those of x that are not indexed
  int first, count;         ///< what is indexed of x: numbers of these dimensions
  bool lines;               ///< scatter: the index has all dimensions of x, `first` is the one it names
  IndexRef checks;

  /// x in the shape of values, standing still along what is indexed.
  Tensor target() const;
  /// The geometry of the index in the shape of values.
  Tensor indices() const;
  Place place() const { return place_of(x, first, count); }
};

/// Where indices are equal the last wins.
void put_last(const Put& put);

enum class Fold : uint8_t { add, scaled, multiply };
/// Equal indices meet in rising order.
void put_folded(const Put& put, Fold fold, Scalar alpha);

}  // namespace weft::gpu
