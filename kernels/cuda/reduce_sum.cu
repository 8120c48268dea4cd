#include "kernels/cuda/reduce_values.cuh"

namespace weft::gpu {

void reduce_sum(const OpCall& c) { combine_values<order::Sum>(c); }

}  // namespace weft::gpu
