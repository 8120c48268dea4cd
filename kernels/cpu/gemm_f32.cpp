#include "kernels/cpu/gemm_blocks.h"
#include "kernels/cpu/gemm_impl.h"
#include "kernels/cpu/gemv.h"

namespace weft::kernels {

void gemm_f32(const Gemm& g) { run_gemm<Plain<float>>(g); }
void gemv_f32(const Gemm& g) { run_gemv<float>(g); }

}  // namespace weft::kernels
