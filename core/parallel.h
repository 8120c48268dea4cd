#pragma once
// parallel_for: the one way the CPU kernels use several cores.
#include <cstdint>
#include <memory>
#include <type_traits>

namespace weft {

// Threads that parallel_for uses, the caller included (at::get_num_threads). At first: WEFT_NUM_THREADS if it is a
// positive number, else the number of CPUs in the affinity mask of the process.
int num_threads();

// Sets num_threads() for the whole process (at::set_num_threads). Throws Error for n < 1 and inside a
// parallel region.
void set_num_threads(int n);

// True inside a piece of a parallel_for that runs on several threads: a nested one then runs on its own thread.
bool in_parallel_region();

// The grain of cheap work on n elements: `usual`, or up to 16 even pieces of less, but no less than 4096. Rows that a
// core has in its caches then stay there from op to op, and the other cores have something to do.
inline int64_t grain_of(int64_t n, int64_t usual) {
  const int64_t pieces = n < 2 * 4096 ? 1 : n < 16 * 4096 ? n / 4096 : 16;
  const int64_t grain = ((n + pieces - 1) / pieces + 63) / 64 * 64;
  return grain < usual ? grain : usual;
}

namespace detail {
using PieceFn = void (*)(void* context, int64_t piece);
// Runs fn(context, 0 .. pieces-1), each once, in any order, on the pool. Returns false (having done nothing) where the
// caller should do it alone: one thread, nested, or another thread is using the pool.
bool run_on_pool(int64_t pieces, PieceFn fn, void* context);
}  // namespace detail

// Calls f(begin, end) for the pieces [i * grain, min(n, (i + 1) * grain)) of [0, n), on several threads where that
// pays. The cut depends on n and grain alone, never on the number of threads: a sum per piece, added in piece order,
// has the same bits on any machine as long as grain is chosen from the sizes of the problem. Pieces run in any order,
// each once; on one thread in ascending order. A piece should take some microseconds. The first exception of a piece
// reaches the caller after the running pieces have ended; pieces not begun by then are dropped.
template <class F>
void parallel_for(int64_t n, int64_t grain, F&& f) {
  if (n <= 0) return;
  grain = grain > 1 ? grain : 1;
  if (n <= grain) {
    f(int64_t{0}, n);
    return;
  }
  const int64_t pieces = (n - 1) / grain + 1;
  auto piece = [&f, n, grain](int64_t i) {
    const int64_t end = (i + 1) * grain;
    f(i * grain, end < n ? end : n);
  };
  using Piece = decltype(piece);
  const bool done = detail::run_on_pool(
      pieces, [](void* context, int64_t i) { (*static_cast<Piece*>(context))(i); }, std::addressof(piece));
  if (!done) {
    for (int64_t i = 0; i < pieces; ++i) piece(i);
  }
}

}  // namespace weft
