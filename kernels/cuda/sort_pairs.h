#pragma once

#include "core/ops/math.h"

// Stable sorts of n < 2^31 pairs in device memory, on the current stream. Keys are unsigned and only their low `bits`
// count. The results and the inputs do not overlap. real/: CUB's radix sort; emulate/: the host's.
namespace weft::gpu {

void sort_pairs(const math::u32* keys, math::u32* keys_out, const math::u32* values, math::u32* values_out, math::i64 n,
                int bits);
void sort_pairs(const math::u64* keys, math::u64* keys_out, const math::u32* values, math::u32* values_out, math::i64 n,
                int bits);

/// Of keys in [0, count).
inline int bits_for(math::u64 count) { return count <= 1 ? 1 : 64 - __builtin_clzll(count - 1); }

}  // namespace weft::gpu
