#pragma once
// Results that no cache can hold until they are read again are written past the caches: a plain store first fetches the
// line it overwrites, a third of the traffic of a + b.
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels/cpu/vec.h"

namespace weft::cpu {

/// Whether an op that touches `bytes` of memory, each once, should write by stream().
bool streams(int64_t bytes);

/// Copies from a block in the first cache to memory that is not read soon. streamed() must follow, once for many
/// blocks.
inline void stream(void* to, const void* from, int64_t bytes) {
#if defined(__AVX512F__) || defined(__FMA__)
  char* d = static_cast<char*>(to);
  const char* s = static_cast<const char*>(from);
  const int64_t head = std::min<int64_t>(bytes, -reinterpret_cast<intptr_t>(d) & (kVectorBytes - 1));
  std::memcpy(d, s, static_cast<size_t>(head));
  int64_t i = head;
  for (; i + kVectorBytes <= bytes; i += kVectorBytes) {
#if defined(__AVX512F__)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(d + i), _mm512_loadu_si512(s + i));
#else
    _mm256_stream_si256(reinterpret_cast<__m256i*>(d + i), _mm256_loadu_si256(reinterpret_cast<const __m256i*>(s + i)));
#endif
  }
  std::memcpy(d + i, s + i, static_cast<size_t>(bytes - i));
#else
  std::memcpy(to, from, static_cast<size_t>(bytes));
#endif
}

/// After it, other threads see what this one has streamed like plain stores.
inline void streamed() {
#if defined(__AVX512F__) || defined(__FMA__)
  _mm_sfence();
#endif
}

}  // namespace weft::cpu
