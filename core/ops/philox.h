#pragma once

#include "core/ops/math.h"

// Random words and the distributions made of them: one text for the CPU and for device code, std-free. Philox 4x32-10
// of Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011).
//
// The stream of a call: counters offset, offset + 1, ... in groups of 16. Word w of counter 16 g + l belongs to element
// 64 g + 16 w + l; 64-bit words (two neighbours) and normals of f64 to element 32 g + 16 (w / 2) + l. So vectors of any
// width compute neighbours, and no value depends on the number of threads or the width.
namespace weft::rng {

using math::u32;
using math::u64;

inline constexpr int kGroupCounters = 16;
inline constexpr int kGroupWords = 64;

struct Words {
  u32 w[4];
};

WEFT_FN void philox_round(u32& a, u32& b, u32& c, u32& d, u32 k0, u32 k1) {
  u64 p = u64(a) * 0xD2511F53u, q = u64(c) * 0xCD9E8D57u;
  u32 na = u32(q >> 32) ^ b ^ k0, nc = u32(p >> 32) ^ d ^ k1;
  b = u32(q);
  d = u32(p);
  a = na;
  c = nc;
}
/// The four words of a counter; `lane` gives further words of the same counter.
WEFT_FN Words philox(u64 seed, u64 counter, u64 lane = 0) {
  u32 a = u32(counter), b = u32(counter >> 32), c = u32(lane), d = u32(lane >> 32), k0 = u32(seed),
      k1 = u32(seed >> 32);
  for (int r = 0; r < 10; ++r) {
    philox_round(a, b, c, d, k0, k1);
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{a, b, c, d}};
}

/// floor(w * range / 2^64): a number below `range`.
WEFT_FN u64 below(u64 w, u64 range) {
  u64 a = w >> 32, b = u32(w), c = range >> 32, d = u32(range);
  u64 middle = a * d + ((b * d) >> 32);
  return a * c + (middle >> 32) + ((b * c + u32(middle)) >> 32);
}
/// In [0, 1): multiples of 2^-24, 2^-53.
WEFT_FN float unit(u32 w) { return float(w >> 8) * 5.9604644775390625e-08f; }
WEFT_FN double unit(u64 w) { return double(w >> 11) * 1.1102230246251565e-16; }
/// In (0, 1], fine near 0: for logarithms.
WEFT_FN float open_unit(u32 w) { return math::fma(float(w), 2.3283064365386963e-10f, 1.1641532182693481e-10f); }
WEFT_FN double open_unit(u64 w) { return math::fma(double(w >> 1), 1.0842021724855044e-19, 5.4210108624275222e-20); }

/// Sine and cosine of 2 pi u, 0 <= u < 1.
template <class T>
WEFT_FN void turn(T u, T& s, T& c) {
  T quarter = math::round(T(4) * u);
  T r = (T(4) * u - quarter) * T(1.5707963267948966);
  T sr, cr;
  math::sin_cos(r, T(0), sr, cr);
  bool odd = (quarter == T(1)) | (quarter == T(3));
  s = math::where(odd, cr, sr);
  s = math::where((quarter == T(2)) | (quarter == T(3)), -s, s);
  c = math::where(odd, sr, cr);
  c = math::where((quarter == T(1)) | (quarter == T(2)), -c, c);
}
/// Two standard normals from two words (Box and Muller).
template <class W, class T>
WEFT_FN void normal_pair(W w0, W w1, T& z0, T& z1) {
  T radius = math::sqrt(T(-2) * math::log(open_unit(w0)));
  T s, c;
  turn(unit(w1), s, c);
  z0 = radius * c;
  z1 = radius * s;
}

}  // namespace weft::rng
