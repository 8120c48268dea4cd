#pragma once
#include <cstdint>

// Handwritten-looking digits, drawn: what `weft demo mnist` learns from when it is given no data.
namespace weft::demo {

inline constexpr int kDigitSize = 28;

/// Draws number `index` of the endless sequence of `seed`: kDigitSize x kDigitSize values in [0, 1], row by row, white
/// (1) ink on black. Turned, sheared, scaled, shifted, of varying width, with wavering strokes and noise. Returns which
/// digit it is.
int draw_digit(uint64_t seed, uint64_t index, float* out);

}  // namespace weft::demo
