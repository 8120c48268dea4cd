#include "kernels/cpu/gemm_blocks.h"
#include "kernels/cpu/gemm_impl.h"

namespace weft::kernels {

void gemm_f16(const Gemm& g) { run_gemm<WidenedF16>(g); }

}  // namespace weft::kernels
