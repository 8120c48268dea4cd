#define WEFT_FAMILY 3
#include "core/ops/activation.h"

#include "autograd/carrier_shard.inc"
