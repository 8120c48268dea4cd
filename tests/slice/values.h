#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

namespace weft::slice {

// Ordinary values, with a quarter of random bits and a quarter of denormals, zeros, infinities and NaN among them when
// `special` is set.
template <class T>
std::vector<T> test_values(size_t n, unsigned seed, bool special) {
  using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
  constexpr int kMantissa = sizeof(T) == 4 ? 23 : 52;
  constexpr Bits kSign = Bits(1) << (8 * sizeof(T) - 1), kDenormals = (Bits(1) << kMantissa) - 1;
  constexpr T kEdges[] = {T(0), T(-0.0), T(INFINITY), T(-INFINITY), T(NAN), T(1), T(-1)};
  std::mt19937_64 random(seed);
  std::normal_distribution<double> normal(0, 2);
  std::vector<T> values(n);
  for (T& v : values) {
    uint64_t kind = special ? random() % 8 : 7, bits = random();
    if (kind < 2)
      v = std::bit_cast<T>(Bits(bits));
    else if (kind == 2)
      v = std::bit_cast<T>(Bits(bits & (kDenormals | kSign)));
    else if (kind == 3)
      v = kEdges[bits % std::size(kEdges)];
    else
      v = T(normal(random));
  }
  return values;
}

// Equal bits, or both NaN.
template <class T>
bool same(T a, T b) {
  return std::memcmp(&a, &b, sizeof(T)) == 0 || (a != a && b != b);
}

template <class T>
size_t count_different(const std::vector<T>& a, const std::vector<T>& b) {
  if (a.size() != b.size()) return a.size() + b.size();
  size_t different = 0;
  for (size_t i = 0; i < a.size(); ++i) different += !same(a[i], b[i]);
  return different;
}

}  // namespace weft::slice
