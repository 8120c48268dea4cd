#include "kernels/cpu/attention_backward.h"
#include "kernels/cpu/attention_forward.h"
#include "kernels/cpu/attention_impl.h"

namespace weft::kernels {

const AttentionKernels kAttentionF16 = {run_forward<WidenedF16>, run_backward<WidenedF16>};

}  // namespace weft::kernels
