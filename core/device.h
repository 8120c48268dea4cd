#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace weft {

enum class DeviceType : uint8_t { cpu, cuda };

/// Where a tensor lives: "cpu", "cuda" (= "cuda:0") or "cuda:1". Parsing anything else is a weft::Error.
struct Device {
  DeviceType type = DeviceType::cpu;
  int8_t index = 0;

  constexpr Device() = default;
  constexpr Device(DeviceType t, int i = 0) : type(t), index(static_cast<int8_t>(i)) {}
  Device(std::string_view text);
  Device(const char* text) : Device(std::string_view(text)) {}

  bool is_cpu() const { return type == DeviceType::cpu; }
  bool is_cuda() const { return type == DeviceType::cuda; }
  std::string str() const;
  friend bool operator==(const Device&, const Device&) = default;
};

}  // namespace weft
