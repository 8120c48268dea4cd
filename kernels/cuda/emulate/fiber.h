#pragma once

#include <cstddef>

// Stacks and the switch between them, x86-64 with the System V calling convention.
#if !defined(__x86_64__)
#error "the CUDA emulation switches stacks with x86-64 assembly"
#endif

// AddressSanitizer wants to hear about every switch.
#if defined(__SANITIZE_ADDRESS__)
#define WEFT_FIBER_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WEFT_FIBER_ASAN 1
#endif
#endif

namespace weft::gpu::emulate {

// A place to continue from: the stack pointer of a flow of control that is not running.
struct Fiber {
  void* stack_pointer = nullptr;
  char* stack = nullptr;  // lowest usable byte; null for the host thread's own stack until it is first left
  size_t stack_size = 0;
};

// Makes `fiber` start `entry` on a stack when it is next switched to. `entry` must not return.
void prepare(Fiber& fiber, char* stack, size_t stack_size, void (*entry)());

// Leaves `from` and continues `to`. `last` says that `from` will never be continued.
void switch_fiber(Fiber& from, Fiber& to, bool last = false);

// First thing to do in a started fiber; `from` is the one that switched to it.
void started(Fiber& from);

// `count` stacks of kStackSize bytes, each above a guard page; they live as long as the host thread.
inline constexpr size_t kStackSize = 128 << 10;
char* stacks(size_t count);
inline char* stack_of(char* stacks, size_t index) { return stacks + index * (kStackSize + 4096) + 4096; }

}  // namespace weft::gpu::emulate
