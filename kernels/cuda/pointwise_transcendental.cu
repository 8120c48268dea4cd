#define WEFT_FAMILY 2
#define WEFT_INSTALL install_transcendental
#include "core/ops/transcendental.h"
#include "kernels/cuda/pointwise_shard.inc"
