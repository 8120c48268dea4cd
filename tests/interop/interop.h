#pragma once
#include "core/value.h"

namespace weft::interop {

/// Training that goes on from a file, as tools/interop_check and tests/interop write them. `start` is a dict:
///
///     workload               JSON text for models::make_model: {"kind": "mlp", "sizes": [...]}
///     optimizer              "SGD", "Adam" or "AdamW"
///     groups                 names of parameters, a list per group of the optimizer
///     model_state_dict       none: the weights weft makes from seed 1
///     optimizer_state_dict   options and state; PyTorch's or weft's
///     x, y                   [steps, batch, ...] inputs and classes
///
/// Gives a dict: losses (f64 [steps], each before its update), model_state_dict, optimizer_state_dict. weft::Error when
/// the parts do not fit each other.
Value train(const Value& start);

}  // namespace weft::interop
