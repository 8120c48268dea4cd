#pragma once
// Working memory of a kernel: per thread, kept and reused, never smaller than asked.
#include <cstddef>
#include <cstdint>
#include <new>

namespace weft::cpu {

/// Who may hold scratch at the same time on one thread; each name is a buffer of its own.
enum class Scratch : int { weights, rows, staging, left, right, partial, count };

namespace detail {
struct ScratchBuffer {
  void* data = nullptr;
  size_t bytes = 0;
  ~ScratchBuffer() { ::operator delete (data, std::align_val_t{64}); }
  void* reserve(size_t wanted) {
    if (wanted > bytes) {
      ::operator delete (data, std::align_val_t{64});
      data = nullptr;
      bytes = 0;
      data = ::operator new (wanted, std::align_val_t{64});
      bytes = wanted;
    }
    return data;
  }
};
inline ScratchBuffer& scratch_buffer(Scratch which) {
  thread_local ScratchBuffer buffers[static_cast<int>(Scratch::count)];
  return buffers[static_cast<int>(which)];
}
}  // namespace detail

/// At least `n` elements, 64-byte aligned, contents unspecified; valid until this thread asks for the same buffer
/// again.
template <class T>
T* scratch(Scratch which, int64_t n) {
  return static_cast<T*>(detail::scratch_buffer(which).reserve(static_cast<size_t>(n) * sizeof(T) + 64));
}

}  // namespace weft::cpu
