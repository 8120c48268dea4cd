#include "kernels/cuda/sort_pairs.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "kernels/cuda/emulate/streams.h"
#include "kernels/cuda/runtime.h"

namespace weft::gpu {
namespace {

template <class K>
void sort(const K* keys, K* keys_out, const math::u32* values, math::u32* values_out, math::i64 n, int bits) {
  const K mask = bits >= int(8 * sizeof(K)) ? ~K(0) : (K(1) << bits) - 1;
  std::vector<math::i64> order(size_t(n), 0);
  std::iota(order.begin(), order.end(), math::i64{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](math::i64 a, math::i64 b) { return (keys[a] & mask) < (keys[b] & mask); });
  for (math::i64 i = 0; i < n; ++i) {
    keys_out[i] = keys[order[size_t(i)]];
    values_out[i] = values[order[size_t(i)]];
  }
}

template <class K>
void put_sort(const K* keys, K* keys_out, const math::u32* values, math::u32* values_out, math::i64 n, int bits) {
  ++launches;
  emulate::put(current_stream(), [=] { sort(keys, keys_out, values, values_out, n, bits); });
}

}  // namespace

void sort_pairs(const math::u32* keys, math::u32* keys_out, const math::u32* values, math::u32* values_out, math::i64 n,
                int bits) {
  put_sort(keys, keys_out, values, values_out, n, bits);
}
void sort_pairs(const math::u64* keys, math::u64* keys_out, const math::u32* values, math::u32* values_out, math::i64 n,
                int bits) {
  put_sort(keys, keys_out, values, values_out, n, bits);
}

}  // namespace weft::gpu
