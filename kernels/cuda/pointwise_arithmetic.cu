#define WEFT_FAMILY 1
#define WEFT_INSTALL install_arithmetic
#include "core/ops/arithmetic.h"
#include "kernels/cuda/pointwise_shard.inc"
