#define WEFT_FAMILY 5
#include "core/ops/compare.h"
#include "kernels/cpu/pointwise_shard.inc"
