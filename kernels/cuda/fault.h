#pragma once

#include "core/ops/math.h"
#include "kernels/cuda/runtime.h"

// Values that a kernel may not accept (an index out of range, a class that does not exist). A kernel cannot throw: it
// writes the first such value to a word in host memory and goes on with a harmless one. The host throws, with the CPU's
// text, at the next op on a device or where it waits for results.
namespace weft::gpu {

/// In host memory that devices can write.
struct FaultWord {
  int site;  ///< 0: nothing happened; else what fault_site() gave
  int real;  ///< `value` holds the bits of a double
  long long value;
};

/// An argument of a kernel. In device code: `if (index >= size) { fault.report(index); index = 0; }`
struct FaultSite {
  FaultWord* word;
  int site;

#if defined(__CUDACC__) || defined(WEFT_CUDA_EMULATE)
  __device__ __forceinline__ void report(long long value) const { write(value, 0); }
  __device__ __forceinline__ void report_real(double value) const {
    write(static_cast<long long>(math::bits(value)), 1);
  }

 private:
  __device__ __forceinline__ void write(long long value, int real) const {
#if defined(__CUDA_ARCH__)
    if (atomicCAS(&word->site, 0, site) != 0) return;
    word->real = real;
    word->value = value;
    __threadfence_system();
#elif !defined(__CUDACC__)
    if (word->site != 0) return;
    word->real = real;
    word->value = value;
    word->site = site;
#endif
  }
#endif
};

/// What the error of a launch will say: `text` with its {} filled by who, the reported value, a, b in this order. The
/// texts live as long as the program.
FaultSite fault_site(detail::Fault kind, const char* text, const char* who, long long a = 0, long long b = 0);

}  // namespace weft::gpu
