#define WEFT_FAMILY 4
#include "autograd/carrier_shard.inc"
#include "core/ops/rounding.h"
