#define WEFT_FAMILY 4
#define WEFT_INSTALL install_rounding
#include "core/ops/rounding.h"
#include "kernels/cuda/pointwise_shard.inc"
