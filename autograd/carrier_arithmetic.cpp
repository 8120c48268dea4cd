#define WEFT_FAMILY 1
#include "core/ops/arithmetic.h"

#include "autograd/carrier_shard.inc"
