#pragma once
#include <span>
#include <vector>

#include "core/registry.h"

namespace weft::schema {

// One table per family, beside each other in this folder.
std::vector<OpSchema> pointwise();
std::span<const OpSchema> pointwise_options();
std::span<const OpSchema> creation();
std::span<const OpSchema> views();
std::span<const OpSchema> reductions();
std::span<const OpSchema> norms();
std::span<const OpSchema> losses();
std::span<const OpSchema> indexing();
std::span<const OpSchema> linear_algebra();
std::span<const OpSchema> random();
std::span<const OpSchema> images();

/// `t` on the device of the options, if they name one, and a leaf that requires grad, if they say so.
Tensor placed(const Tensor& t, const TensorOptions& o);

std::vector<std::span<const OpSchema>> all();

}  // namespace weft::schema
