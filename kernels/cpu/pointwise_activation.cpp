#define WEFT_FAMILY 3
#include "core/ops/activation.h"
#include "kernels/cpu/pointwise_shard.inc"
