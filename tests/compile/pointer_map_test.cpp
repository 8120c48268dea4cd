#include "compile/pointer_map.h"

#include <map>
#include <random>

#include "tests/catch.h"

using weft::graph::PointerMap;

TEST_CASE("a pointer map holds what a std::map holds") {
  std::mt19937 random(5);
  for (int keys : {3, 40, 700}) {
    CAPTURE(keys);
    PointerMap<int> map;
    std::map<const void*, int> expected;
    int wrong = 0;
    for (int i = 0; i < 20000; ++i) {
      const auto* key = reinterpret_cast<const void*>(static_cast<uintptr_t>(64 + 64 * (random() % keys)));
      if (random() % 2) {
        map.erase(key);
        expected.erase(key);
      } else {
        map[key] = expected[key] = i;
      }
      const auto* other = reinterpret_cast<const void*>(static_cast<uintptr_t>(64 + 64 * (random() % keys)));
      const int* found = map.find(other);
      const auto want = expected.find(other);
      wrong += want == expected.end() ? found != nullptr : !found || *found != want->second;
    }
    CHECK(wrong == 0);
    size_t count = 0;
    int64_t sum = 0, expected_sum = 0;
    map.for_each([&](int v) { ++count, sum += v; });
    for (const auto& [key, value] : expected) expected_sum += value;
    CHECK(count == expected.size());
    CHECK(sum == expected_sum);
    map.clear();
    CHECK(map.find(reinterpret_cast<const void*>(uintptr_t{64})) == nullptr);
  }
}
