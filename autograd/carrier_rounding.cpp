#define WEFT_FAMILY 4
#include "core/ops/rounding.h"

#include "autograd/carrier_shard.inc"
