#include "kernels/cpu/attention_backward.h"
#include "kernels/cpu/attention_forward.h"
#include "kernels/cpu/attention_impl.h"

namespace weft::kernels {

const AttentionKernels kAttentionF32 = {run_forward<Plain<float>>, run_backward<Plain<float>>};

}  // namespace weft::kernels
