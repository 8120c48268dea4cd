#define WEFT_FAMILY 6
#include "autograd/carrier_shard.inc"
#include "core/ops/loss.h"
