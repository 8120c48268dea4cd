#define WEFT_FAMILY 5
#include "core/ops/compare.h"

#include "autograd/carrier_shard.inc"
