#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/cuda/emulate/settings.h"

// The CUDA C++ that kernels may use, for a host compiler: the threads of a block run as fibers of one host thread.
// Wrong programs are weft::Error, never undefined behaviour: a barrier that not all threads of the block reach, a
// shuffle whose mask lacks its caller or names a lane that does not come, shared memory read before it is written
// (filled with a pattern, see Settings).

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)
// A host compiler would make it an ordinary local of each thread: kernels write WEFT_SHARED(type, name).
#define __shared__ static_assert(false, "WEFT_SHARED(type, name) declares shared memory");

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct uint3 {
  unsigned x, y, z;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

extern thread_local uint3 threadIdx, blockIdx;
extern thread_local dim3 blockDim, gridDim;
inline constexpr int warpSize = 32;

namespace weft::gpu::emulate {

template <class T>
using Plain = T;

struct Body {
  void (*thread)(const void*);
  const void* argument;
};
// Runs `thread` once for every thread of every block. Throws what a thread throws, or a weft::Error that names the
// broken rule.
void run_grid(dim3 grid, dim3 block, size_t shared, const Body& body);
template <class F>
void run(dim3 grid, dim3 block, size_t shared, const F& thread) {
  run_grid(grid, block, shared, {[](const void* f) { (*static_cast<const F*>(f))(); }, &thread});
}

// Poisons a shared variable when the first thread of a block reaches it.
void enter_shared(void* variable, size_t bytes);
void* dynamic_shared();

// All threads of the block meet here; `line` tells barriers apart.
void barrier(int line);

enum class Collective : uint8_t { sync, shuffle, ballot };
// The lanes of `mask` meet here. Gives the 64 bits that lane `source` brought, or the bits set by each lane's `value`
// for ballot. A source outside the mask gives poison.
uint64_t warp_meet(Collective kind, unsigned mask, uint64_t value, int source, int line);
int lane();

template <class T>
T shuffle(unsigned mask, T value, int source, int line) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof(T));
  bits = warp_meet(Collective::shuffle, mask, bits, source, line);
  std::memcpy(&value, &bits, sizeof(T));
  return value;
}

}  // namespace weft::gpu::emulate

inline void __syncthreads(int line = __builtin_LINE()) { weft::gpu::emulate::barrier(line); }
inline void __syncwarp(unsigned mask = 0xffffffffu, int line = __builtin_LINE()) {
  weft::gpu::emulate::warp_meet(weft::gpu::emulate::Collective::sync, mask, 0, 0, line);
}
template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, int line = __builtin_LINE()) {
  int base = weft::gpu::emulate::lane() & ~(width - 1);
  return weft::gpu::emulate::shuffle(mask, value, base + (source & (width - 1)), line);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, int line = __builtin_LINE()) {
  int lane = weft::gpu::emulate::lane(), source = lane + int(delta);
  return weft::gpu::emulate::shuffle(mask, value, (lane & (width - 1)) + int(delta) < width ? source : lane, line);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, int line = __builtin_LINE()) {
  int lane = weft::gpu::emulate::lane(), source = lane - int(delta);
  return weft::gpu::emulate::shuffle(mask, value, (lane & (width - 1)) >= int(delta) ? source : lane, line);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, int line = __builtin_LINE()) {
  int lane = weft::gpu::emulate::lane(), source = lane ^ bits;
  return weft::gpu::emulate::shuffle(mask, value, (source & ~(width - 1)) <= lane ? source : lane, line);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
  return unsigned(weft::gpu::emulate::warp_meet(weft::gpu::emulate::Collective::ballot, mask, predicate != 0, 0, line));
}
inline int __any_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
  return __ballot_sync(mask, predicate, line) != 0;
}
inline int __all_sync(unsigned mask, int predicate, int line = __builtin_LINE()) {
  return __ballot_sync(mask, predicate, line) == mask;
}

// Atomics: fibers switch only at barriers and shuffles, so that plain reads and writes are atomic.
template <class T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  T old = *address;
  *address = old + value;
  return old;
}
template <class T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  T old = *address;
  *address = old > value ? old : value;
  return old;
}
template <class T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  T old = *address;
  *address = old < value ? old : value;
  return old;
}
template <class T>
T atomicExch(T* address, std::type_identity_t<T> value) {
  T old = *address;
  *address = value;
  return old;
}
template <class T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  T old = *address;
  if (old == expected) *address = value;
  return old;
}
inline void __threadfence() {}
inline void __threadfence_block() {}

inline int __popc(unsigned x) { return __builtin_popcount(x); }
