#define WEFT_FAMILY 6
#include "core/ops/loss.h"

#include "autograd/carrier_shard.inc"
