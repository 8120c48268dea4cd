#pragma once
// weft: tensors, gradients, modules, optimizers and files. The one header users include: <weft/weft.h>.

#include "autograd/autograd.h"
#include "core/allocator.h"
#include "core/error.h"
#include "core/ops/copy.h"
#include "core/ops/dropout.h"
#include "core/ops/gather.h"
#include "core/ops/index.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/random.h"
#include "core/ops/reduce.h"
#include "core/ops/view.h"
#include "core/parallel.h"
#include "core/tensor.h"
#include "data/serialize.h"
