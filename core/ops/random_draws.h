#pragma once

#include "core/ops/philox.h"

// Random numbers that take an unknown number of words each: one text for the CPU and for device code, std-free.
namespace weft::rng {

/// The words of one counter and its lanes, one after the other.
class Stream {
 public:
  WEFT_FN Stream(u64 seed, u64 counter) : seed_(seed), counter_(counter) {}
  WEFT_FN u64 next() {
    if (at_ == 2) {
      words_ = philox(seed_, counter_, lane_++);
      at_ = 0;
    }
    const bool first = at_++ == 0;
    return u64(first ? words_.w[0] : words_.w[2]) << 32 | (first ? words_.w[1] : words_.w[3]);
  }
  WEFT_FN double unit() { return rng::unit(next()); }
  WEFT_FN double open() { return rng::open_unit(next()); }

 private:
  u64 seed_, counter_, lane_ = 0;
  Words words_{};
  int at_ = 2;
};

/// log(k!) of an integer k >= 0: products up to 9, else Stirling's series, whose first term left out is below 1e-11.
WEFT_FN double log_factorial(double k) {
  if (k < 10) {
    double product = 1;
    for (double i = 2; i <= k; ++i) product *= i;
    return math::log(product);
  }
  const double r = 1 / k, square = r * r;
  return (k + 0.5) * math::log(k) - k + 0.91893853320467274178 +
         r * (1.0 / 12 - square * (1.0 / 360 - square * (1.0 / 1260 - square * (1.0 / 1680))));
}

/// Small rates: products of uniforms (Knuth). Large ones: transformed rejection, algorithm PTRS of Hoermann, "The
/// transformed rejection method for generating Poisson random variables" (1993).
WEFT_FN double poisson(double rate, Stream& s) {
  if (rate == 0) return 0;
  if (rate < 10) {
    const double limit = math::exp(-rate);
    double product = 1;
    for (double k = 0;; ++k) {
      product *= s.unit();
      if (product <= limit) return k;
    }
  }
  const double b = 0.931 + 2.53 * math::sqrt(rate), a = -0.059 + 0.02483 * b, inverse = 1.1239 + 1.1328 / (b - 3.4),
               v_r = 0.9277 - 3.6224 / (b - 2), log_rate = math::log(rate);
  while (true) {
    const double u = s.unit() - 0.5, v = s.open(), us = 0.5 - math::abs(u),
                 k = math::floor((2 * a / us + b) * u + rate + 0.43);
    if (us >= 0.07 && v <= v_r) return k;
    if (k < 0 || (us < 0.013 && v > us)) continue;
    if (math::log(v) + math::log(inverse) - math::log(a / (us * us) + b) <= k * log_rate - rate - log_factorial(k))
      return k;
  }
}

/// An exponential number of the given rate; infinite where it is 0. The smallest of them is a draw by weight.
WEFT_FN double exponential(double rate, u64 seed, u64 counter) {
  return rate > 0 ? -math::log(Stream(seed, counter).open()) / rate : math::kInf;
}

/// Step i of a shuffle exchanges element i with this one of 0 .. i. Elements 2 c and 2 c + 1 share a counter.
WEFT_FN u64 shuffle_partner(const Words& words, u64 i) {
  const u64 bits = i % 2 == 0 ? u64(words.w[0]) << 32 | words.w[1] : u64(words.w[2]) << 32 | words.w[3];
  return below(bits, i + 1);
}

}  // namespace weft::rng
