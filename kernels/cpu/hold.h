#pragma once

namespace weft::cpu {

/// Holds `v`, a vector, in a register. Where tiles leave some of 16 registers free, GCC 12 reads what is used a few
/// times from memory at each use, and the tiles wait for loads: measured, up to twice as long. With AVX-512 the
/// multiply-adds read what they broadcast, and nothing is to be gained.
template <class V>
inline void hold(V& v) {
#if defined(__AVX2__) && !defined(__AVX512F__)
  asm("" : "+x"(v));
#else
  static_cast<void>(v);
#endif
}

}  // namespace weft::cpu
