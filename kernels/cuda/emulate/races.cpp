#include <cstring>
#include <memory>
#include <vector>

#include "core/error.h"
#include "kernels/cuda/emulate/grid.h"
#include "kernels/cuda/emulate/memory.h"

namespace weft::gpu::emulate {
namespace {

// AddressSanitizer must not hear about these: parts of the memory are poisoned (emulate/blocks.h).
void copy_bytes(void* to, const void* from, size_t bytes) {
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}
// Offset of the first difference, `bytes` when there is none.
__attribute__((no_sanitize("address"))) size_t first_difference(const char* a, const char* b, size_t bytes) {
  size_t i = 0;
  for (uint64_t x, y; i + 8 <= bytes; i += 8) {
    copy_bytes(&x, a + i, 8);
    copy_bytes(&y, b + i, 8);
    if (x != y) break;
  }
  while (i < bytes && a[i] == b[i]) ++i;
  return i;
}

struct Saved {
  Allocation where;
  std::unique_ptr<char[]> bytes;
};
std::vector<Saved> save() {
  std::vector<Saved> all;
  each_device_memory([&](const Allocation& a) {
    all.push_back({a, std::unique_ptr<char[]>(new char[a.bytes])});
    copy_bytes(all.back().bytes.get(), a.data, a.bytes);
  });
  return all;
}

}  // namespace

void run_twice(dim3 grid, dim3 block, size_t shared, const Body& body) {
  const unsigned char poison = settings().poison;
  const std::vector<Saved> before = save();
  run_ordered(grid, block, shared, body, Order::up, poison);
  const std::vector<Saved> after = save();
  for (const Saved& s : before) copy_bytes(s.where.data, s.bytes.get(), s.where.bytes);
  run_ordered(grid, block, shared, body, Order::down, static_cast<unsigned char>(poison ^ 0xa5));
  for (const Saved& s : after) {
    const size_t at = first_difference(s.bytes.get(), s.where.data, s.where.bytes);
    WEFT_ASSERT(
        at == s.where.bytes,
        "launch: a race: threads and blocks run in the opposite order leave other bytes in device memory, first "
        "{} bytes into an allocation of {}; a barrier is missing, or shared memory is read before it is "
        "written; grid {} x {} x {}, block {} x {} x {}",
        at, s.where.bytes, grid.x, grid.y, grid.z, block.x, block.y, block.z);
  }
}

}  // namespace weft::gpu::emulate
