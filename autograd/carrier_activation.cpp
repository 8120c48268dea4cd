#define WEFT_FAMILY 3
#include "autograd/carrier_shard.inc"
#include "core/ops/activation.h"
