#include "kernels/cpu/attention_backward.h"
#include "kernels/cpu/attention_forward.h"
#include "kernels/cpu/attention_impl.h"

namespace weft::kernels {

const AttentionKernels kAttentionBf16 = {run_forward<WidenedBf16>, run_backward<WidenedBf16>};

}  // namespace weft::kernels
