#define WEFT_FAMILY 1
#include "core/ops/arithmetic.h"
#include "kernels/cpu/pointwise_shard.inc"
