#include "kernels/cpu/gemm_blocks.h"
#include "kernels/cpu/gemm_impl.h"

namespace weft::kernels {

void gemm_bf16(const Gemm& g) { run_gemm<Bf16>(g); }

}  // namespace weft::kernels
