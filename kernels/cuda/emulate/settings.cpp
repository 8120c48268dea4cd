#include "kernels/cuda/emulate/settings.h"

#include <cstdlib>

#include "core/error.h"

namespace weft::gpu::emulate {
namespace {

uint64_t number(const char* name, uint64_t otherwise, uint64_t low, uint64_t high) {
  const char* text = std::getenv(name);
  if (!text || !*text) return otherwise;
  char* end = nullptr;
  const uint64_t v = std::strtoull(text, &end, 0);
  WEFT_CHECK(!*end && v >= low && v <= high, "{}: a number from {} to {} is needed, not \"{}\"", name, low, high, text);
  return v;
}

Settings from_environment() {
  Settings s;
  s.seed = number("WEFT_EMULATE_SEED", s.seed, 0, INT64_MAX);
  s.poison = static_cast<unsigned char>(number("WEFT_EMULATE_POISON", s.poison, 0, 255));
  s.lazy = number("WEFT_EMULATE_LAZY", s.lazy, 0, 1) != 0;
  s.races = number("WEFT_EMULATE_RACES", s.races, 0, 1) != 0;
  s.guard = number("WEFT_EMULATE_GUARD", s.guard, 0, 1) != 0;
  s.devices = static_cast<int>(number("WEFT_EMULATE_DEVICES", 1, 1, 8));
  s.memory = number("WEFT_EMULATE_MEMORY", s.memory >> 20, 1, 1 << 20) << 20;
  return s;
}

}  // namespace

Settings& settings() {
  static Settings s = from_environment();
  return s;
}

Counts& counts() {
  static Counts c;
  return c;
}

}  // namespace weft::gpu::emulate
