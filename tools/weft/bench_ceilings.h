#pragma once
#include <cstdint>

// What this machine can do at most, measured where it is asked for and kept for the rest of the run.
namespace weft::bench {

/// What a loop over large arrays does: sum = read; b = a; c = a + s b; a = constant.
enum class Pattern { read, copy, triad, write };
const char* pattern_name(Pattern p);

/// GB/s (1e9 bytes, read and written together) of a plain loop on num_threads() threads over arrays of `bytes` in all,
/// the better of ordinary and non-temporal stores. `bytes` is rounded up to a power of sqrt(2) from 1 MiB to
/// kLargeBytes, so that what fits a cache is held against the cache.
double bandwidth(Pattern p, double bytes);
/// Arrays far larger than caches: the memory's own bandwidth.
inline constexpr double kLargeBytes = 1 << 28;

/// GFLOP/s of fused multiply-adds (two operations each) on registers alone, with the widest vectors this build's
/// kernels may use, on that many threads. bf16: pairs of bf16 products added to f32 (vdpbf16ps); where the processor
/// lacks it, bf16 data is multiplied as f32, and the peak is that of f32.
double fma_peak(bool bf16, int threads);
bool has_bf16_dot();

}  // namespace weft::bench
