#define WEFT_FAMILY 2
#include "autograd/carrier_shard.inc"
#include "core/ops/transcendental.h"
