#include "core/reduction_order.h"

#include <vector>

#include "core/parallel.h"
#include "tests/catch.h"
#include "tests/slice/values.h"

namespace {

using namespace weft;
using math::i64;

// The order in plain words: see core/reduction_order.h.
template <class Combine, class T>
T plain_block(const T* x, size_t n) {
  std::vector<T> lanes(32, Combine::identity());
  for (size_t i = 0; i < n; ++i) lanes[i % 32] = Combine::combine(lanes[i % 32], x[i]);
  for (size_t half = 16; half > 0; half /= 2)
    for (size_t j = 0; j < half; ++j) lanes[j] = Combine::combine(lanes[j], lanes[j + half]);
  return lanes[0];
}
template <class Combine, class T>
T plain_row(const std::vector<T>& x) {
  if (x.size() <= 1024) return plain_block<Combine>(x.data(), x.size());
  std::vector<T> results;
  for (size_t start = 0; start < x.size(); start += 1024)
    results.push_back(plain_block<Combine>(x.data() + start, std::min<size_t>(1024, x.size() - start)));
  return plain_block<Combine>(results.data(), results.size());
}

template <class Combine, class T>
void check_all_forms(size_t n, bool special) {
  constexpr i64 kRows = 71;  // full batches and a rest
  std::vector<T> table = slice::test_values<T>(kRows * n, unsigned(n), special), transposed(table.size());
  for (size_t r = 0; r < kRows; ++r)
    for (size_t i = 0; i < n; ++i) transposed[i * kRows + r] = table[r * n + i];
  std::vector<T> expected, one(kRows), many(kRows), columns(kRows);
  for (size_t r = 0; r < kRows; ++r)
    expected.push_back(
        plain_row<Combine>(std::vector<T>(table.begin() + long(r * n), table.begin() + long((r + 1) * n))));
  for (i64 r = 0; r < kRows; ++r)
    one[size_t(r)] = reduction::row<Combine, T>(i64(n), [&](i64 i) { return table[size_t(r) * n + size_t(i)]; });
  reduction::rows<Combine, T>(
      kRows, i64(n), [&](i64 r, i64 i) { return table[size_t(r) * n + size_t(i)]; },
      [&](i64 r, T v) { many[size_t(r)] = v; });
  reduction::columns<Combine, T>(
      i64(n), kRows, [&](i64 i, i64 c) { return transposed[size_t(i * kRows + c)]; },
      [&](i64 c, T v) { columns[size_t(c)] = v; });
  INFO("n = " << n);
  CHECK(slice::count_different(expected, one) == 0);
  CHECK(slice::count_different(expected, many) == 0);
  CHECK(slice::count_different(expected, columns) == 0);
}

TEST_CASE("row, rows and columns reduce in the written order") {
  for (size_t n : {0, 1, 2, 3, 5, 8, 16, 31, 32, 33, 63, 64, 100, 1000, 1023, 1024, 1025, 2048, 5000, 40000}) {
    check_all_forms<reduction::Sum<float>, float>(n, false);
    check_all_forms<reduction::Sum<double>, double>(n, false);
    check_all_forms<reduction::Max<float>, float>(n, true);
    check_all_forms<reduction::Min<double>, double>(n, true);
    check_all_forms<reduction::Product<float>, float>(n, false);
  }
}

TEST_CASE("extremes keep NaN and start from infinity") {
  std::vector<float> x = {1.0f, NAN, 3.0f};
  auto load = [&](i64 i) { return x[size_t(i)]; };
  CHECK(std::isnan(reduction::row<reduction::Max<float>, float>(3, load)));
  CHECK(std::isnan(reduction::row<reduction::Min<float>, float>(3, load)));
  CHECK(reduction::row<reduction::Max<float>, float>(0, load) == -INFINITY);
  CHECK(reduction::row<reduction::Min<float>, float>(1, load) == 1.0f);
  std::vector<i64> whole = {-5, INT64_MIN, 7};
  auto load_whole = [&](i64 i) { return whole[size_t(i)]; };
  CHECK(reduction::row<reduction::Max<i64>, i64>(3, load_whole) == 7);
  CHECK(reduction::row<reduction::Min<i64>, i64>(3, load_whole) == INT64_MIN);
  CHECK(reduction::row<reduction::Max<i64>, i64>(0, load_whole) == INT64_MIN);
}

TEST_CASE("512-element tiles and blocks on threads give the bits of a whole row") {
  using Sum = reduction::Sum<float>;
  std::vector<float> x = slice::test_values<float>(100001, 5, false);
  i64 n = i64(x.size()), blocks = reduction::block_count(n);
  float whole = reduction::row<Sum, float>(n, [&](i64 i) { return x[size_t(i)]; });

  std::vector<float> results(static_cast<size_t>(blocks));
  for (i64 b = 0; b < blocks; ++b) {
    float lanes[reduction::kLanes];
    reduction::clear_lanes<Sum>(lanes);
    for (i64 start = 0; start < reduction::block_size(n, b); start += 512)
      reduction::fill_lanes<Sum>(lanes, std::min<i64>(512, reduction::block_size(n, b) - start),
                                 [&](i64 i) { return x[size_t(b * reduction::kBlock + start + i)]; });
    results[size_t(b)] = reduction::tree<Sum>(lanes);
  }
  CHECK(slice::same(whole, reduction::block<Sum, float>(blocks, [&](i64 b) { return results[size_t(b)]; })));

  int threads = num_threads();
  for (int count : {1, 2}) {
    set_num_threads(count);
    std::vector<float> parts(static_cast<size_t>(blocks));
    parallel_for(blocks, 4, [&](i64 begin, i64 end) {
      for (i64 b = begin; b < end; ++b)
        parts[size_t(b)] = reduction::block<Sum, float>(reduction::block_size(n, b),
                                                        [&](i64 i) { return x[size_t(b * reduction::kBlock + i)]; });
    });
    CHECK(slice::same(whole, reduction::block<Sum, float>(blocks, [&](i64 b) { return parts[size_t(b)]; })));
  }
  set_num_threads(threads);
}

}  // namespace
