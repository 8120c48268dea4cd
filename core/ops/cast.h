#pragma once

namespace weft {

// What Autocast (autograd/autocast.h) does with the floating inputs of an op. f64 is never cast.
enum class Cast : unsigned char {
  none,     // nothing: the op takes what it gets
  lower,    // to the guard's dtype
  f32,      // to f32
  promote,  // to f32 if one of them is f32, else to the guard's dtype
};

}  // namespace weft
