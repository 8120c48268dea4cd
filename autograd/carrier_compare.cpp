#define WEFT_FAMILY 5
#include "autograd/carrier_shard.inc"
#include "core/ops/compare.h"
