#define WEFT_FAMILY 2
#include "core/ops/transcendental.h"
#include "kernels/cpu/pointwise_shard.inc"
