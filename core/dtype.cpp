#include "core/dtype.h"

#include <atomic>
#include <string>

#include "core/device.h"
#include "core/error.h"

namespace weft {
namespace {
std::atomic<DType> default_float{DType::f32};
}

bool parse_dtype(std::string_view text, DType& out) {
  for (int i = 0; i < kDTypeCount; ++i)
    if (DType t = static_cast<DType>(i); text == name(t) || text == torch_name(t)) {
      out = t;
      return true;
    }
  return false;
}

DType promote_types(DType a, DType b) {
  if (a == b) return a;
  int ca = category(a), cb = category(b);
  if (ca != cb) return ca > cb ? a : b;
  if (ca == 2) {
    if (a == DType::f64 || b == DType::f64) return DType::f64;
    return DType::f32;  // f32 with a half type, or bf16 with f16
  }
  // integers: u8 with a signed one needs the next wider signed type
  auto rank = [](DType t) { return t == DType::u8 ? 0 : static_cast<int>(itemsize(t)); };
  if (a == DType::u8 || b == DType::u8) {
    DType s = a == DType::u8 ? b : a;
    return s == DType::i8 ? DType::i16 : s;
  }
  return rank(a) > rank(b) ? a : b;
}

DType default_dtype() { return default_float.load(std::memory_order_relaxed); }
void set_default_dtype(DType t) {
  WEFT_CHECK_TYPE(is_floating(t), "set_default_dtype: needs a floating dtype, got {}", t);
  default_float.store(t, std::memory_order_relaxed);
}

Device::Device(std::string_view text) {
  std::string_view rest;
  if (text == "cpu") return;
  if (text.substr(0, 4) == "cuda") {
    type = DeviceType::cuda;
    rest = text.substr(4);
    if (rest.empty()) return;
    if (rest.size() >= 2 && rest.size() <= 3 && rest[0] == ':') {
      int i = 0;
      bool digits = true;
      for (char c : rest.substr(1)) {
        digits &= c >= '0' && c <= '9';
        i = i * 10 + (c - '0');
      }
      if (digits) {
        index = static_cast<int8_t>(i);
        return;
      }
    }
  }
  WEFT_FAIL("device: \"{}\" is not a device; use \"cpu\", \"cuda\" or \"cuda:N\"", text);
}
std::string Device::str() const { return is_cpu() ? "cpu" : "cuda:" + std::to_string(index); }

}  // namespace weft
