#define WEFT_FAMILY 2
#include "core/ops/transcendental.h"

#include "autograd/carrier_shard.inc"
