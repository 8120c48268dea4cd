#include "kernels/cpu/gemm_blocks.h"
#include "kernels/cpu/gemm_impl.h"
#include "kernels/cpu/gemv.h"

namespace weft::kernels {

void gemm_f64(const Gemm& g) { run_gemm<Plain<double>>(g); }
void gemv_f64(const Gemm& g) { run_gemv<double>(g); }

}  // namespace weft::kernels
