#define WEFT_FAMILY 6
#define WEFT_INSTALL install_loss
#include "core/ops/loss.h"
#include "kernels/cuda/pointwise_shard.inc"
