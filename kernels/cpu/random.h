#pragma once
#include <algorithm>
#include <cstdint>
#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#endif

#include "core/ops/philox.h"
#include "core/parallel.h"
#include "core/random.h"

// Random words in bulk, in the order of elements that core/ops/philox.h defines.
namespace weft::cpu {

/// Elements that are made at a time: a whole number of groups.
inline constexpr int64_t kRandomTile = 1024;

namespace detail {

typedef uint64_t Lanes __attribute__((vector_size(64)));
typedef uint32_t HalfLanes __attribute__((vector_size(32)));

// The product of the low halves.
inline Lanes multiply_low(Lanes a, Lanes b) {
#if defined(__AVX512F__)
  return (Lanes)_mm512_maskz_mul_epu32(0xff, (__m512i)a, (__m512i)b);  // the plain form warns under g++ 12
#elif defined(__AVX2__)
  __m256i x[2], y[2];
  __builtin_memcpy(x, &a, sizeof a);
  __builtin_memcpy(y, &b, sizeof b);
  for (int i = 0; i < 2; ++i) x[i] = _mm256_mul_epu32(x[i], y[i]);
  __builtin_memcpy(&a, x, sizeof a);
  return a;
#else
  return (a & 0xffffffffu) * (b & 0xffffffffu);
#endif
}

// Words [4][16] of 16 counters. Counters sit in the low halves of 64-bit lanes; what gathers in the high halves is
// never read.
inline void philox_group(uint64_t seed, uint64_t counter, uint32_t* words) {
  const Lanes first = Lanes{0, 1, 2, 3, 4, 5, 6, 7} + counter, m0 = Lanes{} + 0xD2511F53u, m1 = Lanes{} + 0xCD9E8D57u;
  Lanes a[2] = {first, first + 8}, b[2] = {a[0] >> 32, a[1] >> 32}, c[2] = {}, d[2] = {};
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int r = 0; r < 10; ++r) {
    for (int i = 0; i < 2; ++i) {
      Lanes p = multiply_low(a[i], m0), q = multiply_low(c[i], m1);
      a[i] = (q >> 32) ^ b[i] ^ k0;
      c[i] = (p >> 32) ^ d[i] ^ k1;
      b[i] = q;
      d[i] = p;
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  for (int i = 0; i < 2; ++i) {
    const Lanes* w[4] = {&a[i], &b[i], &c[i], &d[i]};
    for (int k = 0; k < 4; ++k) {
      HalfLanes low = __builtin_convertvector(*w[k], HalfLanes);
      __builtin_memcpy(words + 16 * k + 8 * i, &low, sizeof low);
    }
  }
}

}  // namespace detail

/// f(words, begin, count): the words of elements [begin, begin + count), count <= kRandomTile; `words` always holds
/// whole groups. W: uint32_t or uint64_t. Runs in parallel.
template <class W, class F>
void random_tiles(int64_t n, const Generator::State& s, F&& f) {
  constexpr int64_t kGroup = rng::kGroupWords * 4 / static_cast<int64_t>(sizeof(W)), kGroups = kRandomTile / kGroup;
  parallel_for((n + kRandomTile - 1) / kRandomTile, 32, [&](int64_t tile_begin, int64_t tile_end) {
    alignas(64) W words[kRandomTile];
    for (int64_t t = tile_begin; t < tile_end; ++t) {
      const int64_t begin = t * kRandomTile, count = std::min(n - begin, kRandomTile),
                    groups = std::min(kGroups, (count + kGroup - 1) / kGroup);
      for (int64_t g = 0; g < groups; ++g) {
        const uint64_t counter = s.offset + static_cast<uint64_t>((t * kGroups + g) * rng::kGroupCounters);
        if constexpr (sizeof(W) == 4) {
          detail::philox_group(s.seed, counter, words + g * kGroup);
        } else {
          alignas(64) uint32_t half[rng::kGroupWords];
          detail::philox_group(s.seed, counter, half);
          for (int k = 0; k < 2; ++k)
            for (int l = 0; l < 16; ++l)
              words[g * kGroup + 16 * k + l] = static_cast<uint64_t>(half[32 * k + l]) << 32 | half[32 * k + 16 + l];
        }
      }
      f(static_cast<const W*>(words), begin, count);
    }
  });
}

}  // namespace weft::cpu
