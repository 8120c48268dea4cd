#include "core/ops/sort.h"

#include <algorithm>
#include <vector>

#include "core/parallel.h"
#include "core/reduction_order.h"
#include "kernels/cpu/element.h"
#include "kernels/cpu/strided.h"

namespace weft::cpu {
namespace {

template <class U>
constexpr U kSign = U(1) << (8 * sizeof(U) - 1);

// Unsigned keys in the order of the values: -0 equals 0, NaN is largest.
template <class U>
U float_key(U bits, bool nan) {
  bits = bits == kSign<U> ? 0 : bits;
  U key = bits ^ (kSign<U> | (U(0) - (bits >> (8 * sizeof(U) - 1))));
  return nan ? ~U(0) : key;
}
inline uint32_t key_of(float x) { return float_key(__builtin_bit_cast(uint32_t, x), x != x); }
inline uint64_t key_of(double x) { return float_key(__builtin_bit_cast(uint64_t, x), x != x); }
inline uint32_t key_of(BFloat16 x) { return key_of(to_float(x)); }
inline uint32_t key_of(Half x) { return key_of(to_float(x)); }
inline uint64_t key_of(int64_t x) { return static_cast<uint64_t>(x) ^ kSign<uint64_t>; }
template <class T>
uint32_t key_of(T x) {
  return static_cast<uint32_t>(static_cast<int32_t>(x)) ^ kSign<uint32_t>;
}

// A key of 64 bits with its place; one of 32 bits shares a word with it.
struct Keyed {
  uint64_t key;
  int64_t place;
  friend bool operator<(const Keyed& a, const Keyed& b) { return a.key != b.key ? a.key < b.key : a.place < b.place; }
};
inline int64_t place_of(uint64_t packed) { return static_cast<int64_t>(packed & 0xffffffffu); }
inline int64_t place_of(const Keyed& w) { return w.place; }
inline unsigned digit(uint64_t packed, int pass) { return packed >> (32 + 8 * pass) & 255; }
inline unsigned digit(const Keyed& w, int pass) { return w.key >> (8 * pass) & 255; }

// Stable, by bytes of the key; bytes that are all alike are skipped.
template <class E>
void radix_sort(std::vector<E>& v, std::vector<E>& other, int passes) {
  other.resize(v.size());
  std::vector<size_t> counts(static_cast<size_t>(passes) * 256);
  for (const E& e : v)
    for (int p = 0; p < passes; ++p) ++counts[static_cast<size_t>(p) * 256 + digit(e, p)];
  for (int p = 0; p < passes; ++p) {
    size_t* count = &counts[static_cast<size_t>(p) * 256];
    if (count[digit(v[0], p)] == v.size()) continue;
    size_t sum = 0;
    for (int d = 0; d < 256; ++d) sum += std::exchange(count[d], sum);
    for (const E& e : v) other[count[digit(e, p)]++] = e;
    v.swap(other);
  }
}

// The k least of a line, sorted, in its front. Lane j holds the least of elements j, j + 64, ...: the k-th least lane
// bounds what can be among the k least of the line, and little else stays below it.
constexpr int64_t kFewest = 32, kBins = 64;
template <class E>
void least(std::vector<E>& line, std::vector<E>& candidates, int64_t k) {
  const int64_t n = static_cast<int64_t>(line.size()), whole = n / kBins * kBins;
  if (n < 4 * kBins) return std::partial_sort(line.begin(), line.begin() + k, line.end());
  const E* p = line.data();
  E bin[kBins];
  for (int64_t j = 0; j < kBins; ++j) bin[j] = p[j];
  for (int64_t i = kBins; i < whole; i += kBins)
    for (int64_t j = 0; j < kBins; ++j) bin[j] = p[i + j] < bin[j] ? p[i + j] : bin[j];
  std::nth_element(bin, bin + (k - 1), bin + kBins);
  const E bound = bin[k - 1];
  candidates.clear();
  constexpr int64_t kBlock = 32;
  for (int64_t i = 0; i < n; i += kBlock) {
    const int64_t end = std::min(n, i + kBlock);
    unsigned any = 0;
    for (int64_t j = i; j < end; ++j) any |= !(bound < p[j]);
    if (!any) continue;
    for (int64_t j = i; j < end; ++j)
      if (!(bound < p[j])) candidates.push_back(p[j]);
  }
  std::partial_sort_copy(candidates.begin(), candidates.end(), line.begin(), line.begin() + k);
}

constexpr size_t kRadixFrom = 256;

template <class T, class Stride, class Key, class E>
void pack(const T* p, Stride stride, Key flip, E* line, int64_t n) {
  WEFT_VECTOR_LOOP
  for (int64_t i = 0; i < n; ++i) {
    const Key key = key_of(p[i * stride]) ^ flip;
    if constexpr (sizeof(Key) == 4)
      line[i] = static_cast<uint64_t>(key) << 32 | static_cast<uint64_t>(i);
    else
      line[i] = {key, i};
  }
}

template <class T>
void sort_lines(const OpCall& c) {
  const auto& a = c.as<SortOp::Attrs>();
  const Tensor &x = c.in[0], &values = c.out[0], &indices = c.out[1];
  using Key = decltype(key_of(T{}));
  const int64_t n = x.sizes()[a.dim], k = a.k;
  const bool packs = sizeof(Key) == 4 && n <= int64_t{1} << 32;
  WEFT_ASSERT(packs || sizeof(Key) == 8, "sort: {} elements in a line", n);
  using E = std::conditional_t<sizeof(Key) == 4, uint64_t, Keyed>;
  Dims others = values.sizes(), strides[3] = {values.strides(), x.strides(), indices.strides()};
  others.erase(a.dim);
  int64_t step[3];
  const Dims *sizes[3] = {&others, &others, &others}, *at[3];
  for (int i = 0; i < 3; ++i) {
    step[i] = strides[i][a.dim];
    strides[i].erase(a.dim);
    at[i] = &strides[i];
  }
  StridedLoop<3> loop(others, 3, sizes, at);
  const T* from = static_cast<const T*>(x.data_ptr());
  T* to = static_cast<T*>(values.data_ptr());
  int64_t* where = indices.data<int64_t>();
  parallel_for(loop.numel, std::max<int64_t>(1, 4096 / std::max<int64_t>(n, 1)), [&](int64_t begin, int64_t end) {
    std::vector<E> line(static_cast<size_t>(n)), other;
    for (int64_t r = begin; r < end; ++r) {
      int64_t rest = r, o[3] = {0, 0, 0};
      for (int d = loop.sizes.size() - 1; d >= 0; --d) {
        int64_t i = rest % loop.sizes[d];
        rest /= loop.sizes[d];
        for (int j = 0; j < 3; ++j) o[j] += i * loop.strides[j][d];
      }
      const Key flip = a.descending ? ~Key(0) : Key(0);
      if (step[1] == 1)
        pack(from + o[1], std::integral_constant<int64_t, 1>{}, flip, line.data(), n);
      else
        pack(from + o[1], step[1], flip, line.data(), n);
      if (k < n) {
        if (k > 0 && k <= kFewest)
          least(line, other, k);
        else if (k > 0) {
          std::nth_element(line.begin(), line.begin() + (k - 1), line.end());
          std::sort(line.begin(), line.begin() + k);
        }
      } else if (line.size() >= kRadixFrom) {
        radix_sort(line, other, sizeof(Key));
      } else {
        std::sort(line.begin(), line.end());
      }
      for (int64_t i = 0; i < k; ++i) {
        int64_t place = place_of(line[static_cast<size_t>(i)]);
        to[o[0] + i * step[0]] = from[o[1] + place * step[1]];
        where[o[2] + i * step[2]] = place;
      }
    }
  });
}

}  // namespace

void sort(const OpCall& c) {
  if (c.out[0].numel() == 0) return;
  for_dtype(c.in[0].dtype(), [&](auto type) { sort_lines<typename decltype(type)::type>(c); });
}

}  // namespace weft::cpu
