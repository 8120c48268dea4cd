#define WEFT_FAMILY 5
#define WEFT_INSTALL install_compare
#include "core/ops/compare.h"
#include "kernels/cuda/pointwise_shard.inc"
