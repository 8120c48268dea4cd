#define WEFT_FAMILY 4
#include "core/ops/rounding.h"
#include "kernels/cpu/pointwise_shard.inc"
