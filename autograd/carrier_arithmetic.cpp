#define WEFT_FAMILY 1
#include "autograd/carrier_shard.inc"
#include "core/ops/arithmetic.h"
