#include "kernels/cuda/emulate/fiber.h"

#include <sys/mman.h>

#include "core/error.h"

#ifdef WEFT_FIBER_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

// The registers a callee must keep go to the old stack and come from the new one.
asm(R"(
.text
.globl weft_switch_stack
.type weft_switch_stack, @function
weft_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size weft_switch_stack, .-weft_switch_stack
)");
extern "C" void weft_switch_stack(void** save, void* load);

namespace weft::gpu::emulate {

void prepare(Fiber& fiber, char* stack, size_t stack_size, void (*entry)()) {
  fiber.stack = stack;
  fiber.stack_size = stack_size;
#ifdef WEFT_FIBER_ASAN
  __asan_unpoison_memory_region(stack, stack_size);  // frames of a fiber that was left for good
#endif
  void** top = reinterpret_cast<void**>(stack + stack_size);  // 16-byte aligned
  top[-1] = nullptr;                                          // the entry's return address: ends a backtrace
  top[-2] = reinterpret_cast<void*>(entry);
  for (int i = 3; i <= 8; ++i) top[-i] = nullptr;
  fiber.stack_pointer = top - 8;
}

void switch_fiber(Fiber& from, Fiber& to, [[maybe_unused]] bool last) {
#ifdef WEFT_FIBER_ASAN
  void* fake = nullptr;
  __sanitizer_start_switch_fiber(last ? nullptr : &fake, to.stack, to.stack_size);
#endif
  weft_switch_stack(&from.stack_pointer, to.stack_pointer);
#ifdef WEFT_FIBER_ASAN
  __sanitizer_finish_switch_fiber(fake, nullptr, nullptr);
#endif
}

void started([[maybe_unused]] Fiber& from) {
#ifdef WEFT_FIBER_ASAN
  const void* stack = nullptr;
  size_t size = 0;
  __sanitizer_finish_switch_fiber(nullptr, &stack, &size);
  if (!from.stack) {
    from.stack = static_cast<char*>(const_cast<void*>(stack));
    from.stack_size = size;
  }
#endif
}

namespace {

struct Pool {
  char* memory = nullptr;
  size_t bytes = 0;
  ~Pool() {
    if (memory) munmap(memory, bytes);
  }
};

}  // namespace

char* stacks(size_t count) {
  thread_local Pool pool;
  size_t bytes = count * (kStackSize + 4096);
  if (bytes <= pool.bytes) return pool.memory;
  if (pool.memory) munmap(pool.memory, pool.bytes);
  pool.bytes = 0;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  WEFT_ASSERT(memory != MAP_FAILED, "cuda emulation: no memory for {} thread stacks", count);
  pool.memory = static_cast<char*>(memory);
  pool.bytes = bytes;
  for (size_t i = 0; i < count; ++i) mprotect(pool.memory + i * (kStackSize + 4096), 4096, PROT_NONE);
  return pool.memory;
}

}  // namespace weft::gpu::emulate
