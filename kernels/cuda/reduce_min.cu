#include "kernels/cuda/reduce_values.cuh"

namespace weft::gpu {

void reduce_min(const OpCall& c) { combine_values<order::Min>(c); }

}  // namespace weft::gpu
