#define WEFT_FAMILY 6
#include "core/ops/loss.h"
#include "kernels/cpu/pointwise_shard.inc"
