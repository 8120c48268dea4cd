#include "kernels/cuda/reduce_values.cuh"

namespace weft::gpu {

void reduce_prod(const OpCall& c) { combine_values<order::Product>(c); }

}  // namespace weft::gpu
