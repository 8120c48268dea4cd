#pragma once
#include "core/dispatch.h"

// Which inputs a structured op's kernel changes. For those who keep or repeat calls: compile/.
namespace weft {

/// Whether calls of `op`, which has outputs, may change inputs as well.
bool may_write_inputs(const OpRecord& op);
/// Bit i: the call changes input i. Of an op with outputs; one without (an optimizer's update) changes any.
unsigned written_inputs(const OpCall& c);

}  // namespace weft
