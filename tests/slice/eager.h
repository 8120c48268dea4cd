#pragma once

#include <string_view>

#include "core/pointwise.h"

namespace weft::slice {

// The op of a record by the record's name ("Sigmoid").
const PointwiseInfo& find_op(std::string_view record);

// The chain of program.h as eager Tensor ops.
Tensor run_chain(const Tensor& x, const Tensor& w, double alpha);

}  // namespace weft::slice
