#include "kernels/cuda/reduce_values.cuh"

namespace weft::gpu {

void reduce_max(const OpCall& c) { combine_values<order::Max>(c); }

}  // namespace weft::gpu
