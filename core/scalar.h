#pragma once
#include <concepts>
#include <cstdint>

#include "core/dtype.h"

namespace weft {

/// A number that keeps its kind: bool, integer or float. Converts implicitly from every arithmetic type.
class Scalar {
 public:
  constexpr Scalar() : Scalar(0.0) {}
  constexpr Scalar(bool v) : i_(v), d_(v), kind_(0) {}
  template <std::integral T>
  constexpr Scalar(T v) : i_(static_cast<int64_t>(v)), d_(static_cast<double>(v)), kind_(1) {}
  template <std::floating_point T>
  constexpr Scalar(T v) : i_(0), d_(static_cast<double>(v)), kind_(2) {
    // Out-of-range float -> integer is undefined; saturate, NaN -> 0.
    if (d_ >= -9223372036854775808.0 && d_ < 9223372036854775808.0)
      i_ = static_cast<int64_t>(d_);
    else if (d_ > 0)
      i_ = INT64_MAX;
    else if (d_ < 0)
      i_ = INT64_MIN;
  }

  constexpr bool is_bool() const { return kind_ == 0; }
  constexpr bool is_integral() const { return kind_ == 1; }
  constexpr bool is_floating() const { return kind_ == 2; }
  constexpr double f64() const { return d_; }
  constexpr int64_t i64() const { return i_; }
  constexpr bool truth() const { return kind_ == 2 ? d_ != 0 : i_ != 0; }
  template <class T>
  constexpr T to() const {
    if constexpr (std::is_same_v<T, bool>)
      return truth();
    else if constexpr (std::is_integral_v<T>)
      return static_cast<T>(i_);
    else
      return static_cast<T>(d_);
  }
  /// bool_, i64 or f64.
  constexpr DType dtype() const { return kind_ == 0 ? DType::bool_ : kind_ == 1 ? DType::i64 : DType::f64; }

 private:
  int64_t i_;
  double d_;
  uint64_t kind_;  // as wide as the others: no bytes without meaning, so numbers compare by their bytes
};

}  // namespace weft
