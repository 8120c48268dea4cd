#include "kernels/cpu/attention_backward.h"
#include "kernels/cpu/attention_forward.h"
#include "kernels/cpu/attention_impl.h"

namespace weft::kernels {

const AttentionKernels kAttentionF64 = {run_forward<Plain<double>>, run_backward<Plain<double>>};

}  // namespace weft::kernels
