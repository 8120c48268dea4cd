#pragma once

// The words of pointwise records: overloads for float and double, and for int64 where integers are meaningful.
// Std-free and branch-free: loops over them vectorise without a call. Rare float words compute in double. Rounding
// errors stay within the bounds in tests/ops/math_test.cpp (1 to 3 ulp); infinities, NaN, -0 and denormals are C's
// (Annex F).

#include "core/ops/math_basic.h"
#include "core/ops/math_exp.h"
#include "core/ops/math_log.h"
#include "core/ops/math_special.h"
#include "core/ops/math_trig.h"

// Last: templates over the words above.
#include "core/ops/math_composite.h"
