#pragma once

#include <cstdint>

struct CUstream_st;

// What the emulation notes for a profiler: each task of a stream as it runs.
namespace weft::gpu::emulate {

bool recording();
/// Whose work this thread puts in; 0: nobody's.
uint64_t current_cause();
/// Steady clock.
int64_t now_ns();
void note(const char* op, int device, const CUstream_st* stream, int64_t start_ns, uint64_t cause);

/// Tasks put in while it lives are not work of the device, but the emulation's own.
class Unnoted {
 public:
  Unnoted();
  ~Unnoted();
  Unnoted(const Unnoted&) = delete;
  Unnoted& operator=(const Unnoted&) = delete;
};
/// This thread is inside of an Unnoted.
bool unnoted();

}  // namespace weft::gpu::emulate
