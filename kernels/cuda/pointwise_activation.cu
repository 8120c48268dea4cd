#define WEFT_FAMILY 3
#define WEFT_INSTALL install_activation
#include "core/ops/activation.h"
#include "kernels/cuda/pointwise_shard.inc"
