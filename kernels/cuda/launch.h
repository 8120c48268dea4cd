#pragma once

#include <cstddef>

#if defined(__CUDACC__)
#include <cuda_runtime.h>
#elif defined(WEFT_CUDA_EMULATE)
#include <tuple>
#include <type_traits>

#include "kernels/cuda/emulate/streams.h"
#endif

#include "kernels/cuda/runtime.h"

// One way to start a kernel and two macros for shared memory, the same for nvcc and for the host emulation.
// A .cu file uses these instead of <<<>>> and __shared__.

#if defined(__CUDACC__)

// `WEFT_SHARED(float[32], partial);`: a variable in the shared memory of the block.
#define WEFT_SHARED(type, name) __shared__ ::weft::gpu::Plain<type> name
// `WEFT_DYNAMIC_SHARED(float, row);`: a float* to the dynamic shared memory of the launch, aligned to 16 bytes.
#define WEFT_DYNAMIC_SHARED(type, name)                                 \
  extern __shared__ __align__(16) unsigned char weft_dynamic_shared_[]; \
  type* name = reinterpret_cast<type*>(weft_dynamic_shared_)

namespace weft::gpu {

template <class T>
using Plain = T;

// Starts `kernel` with `shared` bytes of dynamic shared memory. Throws weft::Error when the configuration is refused.
template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
            const Arguments&... arguments) {
  check_launch({grid.x, grid.y, grid.z, block.x, block.y, block.z, shared});
  ++launches;
  if (shared > kDefaultShared)
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared)), "launch");
  kernel<<<grid, block, shared, stream>>>(Parameters(arguments)...);
  check(cudaGetLastError(), "launch");
  after_launch(stream);
}

}  // namespace weft::gpu

#elif defined(WEFT_CUDA_EMULATE)

#define WEFT_SHARED(type, name)                               \
  static thread_local ::weft::gpu::emulate::Plain<type> name; \
  ::weft::gpu::emulate::enter_shared(&name, sizeof(name))
#define WEFT_DYNAMIC_SHARED(type, name) type* name = static_cast<type*>(::weft::gpu::emulate::dynamic_shared())

namespace weft::gpu {

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, cudaStream_t stream,
            const Arguments&... arguments) {
  static_assert((std::is_trivially_copyable_v<Parameters> && ...), "kernel parameters are bytes");
  check_launch({grid.x, grid.y, grid.z, block.x, block.y, block.z, shared});
  WEFT_ASSERT(emulate::device_of_stream(stream) == emulate::current_device(),
              "launch: the stream is of another device");
  ++launches;
  emulate::report_errors();
  emulate::put(stream, [=, parameters = std::tuple<Parameters...>(Parameters(arguments)...)] {
    emulate::run(grid, block, shared, [&] { std::apply(kernel, parameters); });
  });
  after_launch(stream);
  if (!emulate::settings().lazy) emulate::report_errors();
}

}  // namespace weft::gpu

#endif
