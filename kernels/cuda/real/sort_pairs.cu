#include "kernels/cuda/sort_pairs.h"

#include <cub/device/device_radix_sort.cuh>

#include "kernels/cuda/allocator.h"

namespace weft::gpu {
namespace {

template <class K>
void sort(const K* keys, K* keys_out, const math::u32* values, math::u32* values_out, math::i64 n, int bits) {
  const cudaStream_t stream = current_stream();
  auto call = [&](void* scratch, size_t& bytes) {
    check(cub::DeviceRadixSort::SortPairs(scratch, bytes, keys, keys_out, values, values_out, int(n), 0, bits, stream),
          "sort");
  };
  size_t bytes = 0;
  call(nullptr, bytes);
  const Workspace scratch(bytes);
  ++launches;
  call(scratch.data(), bytes);
  after_launch(stream);
}

}  // namespace

void sort_pairs(const math::u32* keys, math::u32* keys_out, const math::u32* values, math::u32* values_out, math::i64 n,
                int bits) {
  sort(keys, keys_out, values, values_out, n, bits);
}
void sort_pairs(const math::u64* keys, math::u64* keys_out, const math::u32* values, math::u32* values_out, math::i64 n,
                int bits) {
  sort(reinterpret_cast<const unsigned long long*>(keys), reinterpret_cast<unsigned long long*>(keys_out), values,
       values_out, n, bits);
}

}  // namespace weft::gpu
