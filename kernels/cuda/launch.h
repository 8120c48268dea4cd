#pragma once

#include <cstddef>

#if defined(__CUDACC__)
#include <cuda_runtime.h>
#elif defined(WEFT_CUDA_EMULATE)
#include "kernels/cuda/emulate/device_code.h"
#else
#error "kernels/cuda is compiled by nvcc, or by a C++ compiler with -DWEFT_CUDA_EMULATE"
#endif

#include "core/error.h"
#include "kernels/cuda/launch_check.h"

// One way to start a kernel and two macros for shared memory, the same for nvcc and for the host emulation.
// A .cu file uses these instead of <<<>>> and __shared__.

#if defined(__CUDACC__)

// `WEFT_SHARED(float[32], partial);`: a variable in the shared memory of the block.
#define WEFT_SHARED(type, name) __shared__ ::weft::cuda::Plain<type> name
// `WEFT_DYNAMIC_SHARED(float, row);`: a float* to the dynamic shared memory of the launch, aligned to 16 bytes.
#define WEFT_DYNAMIC_SHARED(type, name)                                 \
  extern __shared__ __align__(16) unsigned char weft_dynamic_shared_[]; \
  type* name = reinterpret_cast<type*>(weft_dynamic_shared_)

namespace weft::cuda {

template <class T>
using Plain = T;

// Throws weft::Error with CUDA's words unless `status` is success.
inline void check_status(cudaError_t status) {
  WEFT_ASSERT(status == cudaSuccess, "cuda: {}", cudaGetErrorString(status));
}

// Starts `kernel` with `shared` bytes of dynamic shared memory. Throws weft::Error when the configuration is refused.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, Stream stream,
            const Arguments&... arguments) {
  check_launch({grid.x, grid.y, grid.z, block.x, block.y, block.z, shared});
  if (shared > kDefaultShared)
    check_status(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared)));
  kernel<<<grid, block, shared, stream>>>(Parameters(arguments)...);
  check_status(cudaGetLastError());
}

}  // namespace weft::cuda

#else

#define WEFT_SHARED(type, name)                                \
  static thread_local ::weft::cuda::emulate::Plain<type> name; \
  ::weft::cuda::emulate::enter_shared(&name, sizeof(name))
#define WEFT_DYNAMIC_SHARED(type, name) type* name = static_cast<type*>(::weft::cuda::emulate::dynamic_shared())

namespace weft::cuda {

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, Stream,
            const Arguments&... arguments) {
  check_launch({grid.x, grid.y, grid.z, block.x, block.y, block.z, shared});
  emulate::run(grid, block, shared, [&] { kernel(Parameters(arguments)...); });
}

}  // namespace weft::cuda

#endif
