#include "kernels/cuda/kernels.h"

#include "core/ops/attention.h"
#include "core/ops/batch_norm.h"
#include "core/ops/conv.h"
#include "core/ops/copy.h"
#include "core/ops/cross_entropy.h"
#include "core/ops/dropout.h"
#include "core/ops/embedding.h"
#include "core/ops/extreme.h"
#include "core/ops/gather.h"
#include "core/ops/index.h"
#include "core/ops/matmul.h"
#include "core/ops/norm.h"
#include "core/ops/optimizer_step.h"
#include "core/ops/pool.h"
#include "core/ops/random.h"
#include "core/ops/range.h"
#include "core/ops/recurrent.h"
#include "core/ops/reduce.h"
#include "core/ops/require.h"
#include "core/ops/scan.h"
#include "core/ops/shape.h"
#include "core/ops/softmax.h"
#include "core/ops/sort.h"
#include "core/ops/statistics.h"
#include "kernels/cuda/pointwise.h"

namespace weft::gpu {

void install_kernels() {
#define WEFT_CUDA_KERNEL(record, kernel) record.cuda = &kernel;
#include "kernels/cuda/kernels.def"
#undef WEFT_CUDA_KERNEL
  install_pointwise();
}

}  // namespace weft::gpu
