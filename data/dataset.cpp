#include "data/dataset.h"

#include <cmath>
#include <cstring>
#include <numeric>

#include "core/error.h"
#include "core/ops/random.h"
#include "core/random.h"
#include "data/sampler.h"

namespace weft::data::detail {

int64_t checked_index(int64_t index, int64_t size, const char* what) {
  WEFT_CHECK_INDEX(index >= 0 && index < size, "{}: index {} is out of range; there are {} samples", what, index, size);
  return index;
}

void check_columns(std::span<const Tensor> columns) {
  for (const Tensor& t : columns) {
    WEFT_CHECK(t.defined() && t.dim() > 0, "TensorDataset: tensors need a first dimension of samples");
    WEFT_CHECK(t.size(0) == columns[0].size(0),
               "TensorDataset: tensors must have the same first dimension; got {} and {}", columns[0], t);
  }
}

Tensor gather_rows(const Tensor& rows, std::span<const int64_t> indices) {
  const int64_t n = rows.size(0);
  for (const int64_t i : indices) checked_index(i, n, "TensorDataset");
  const auto count = static_cast<int64_t>(indices.size());
  if (!rows.device().is_cpu() || !rows.is_contiguous()) {
    Tensor index = empty({count}, {.dtype = DType::i64, .device = DeviceType::cpu});
    std::copy(indices.begin(), indices.end(), index.data<int64_t>());
    return rows.index_select(0, index.to(rows.device()));
  }
  Dims sizes = rows.sizes();
  sizes[0] = count;
  Tensor out = empty(sizes, {.dtype = rows.dtype(), .device = DeviceType::cpu});
  const size_t bytes = n > 0 ? rows.nbytes() / static_cast<size_t>(n) : 0;
  const char* from = static_cast<const char*>(rows.data_ptr());
  char* to = static_cast<char*>(out.data_ptr());
  for (const int64_t i : indices) {
    std::memcpy(to, from + static_cast<size_t>(i) * bytes, bytes);
    to += bytes;
  }
  return out;
}

std::vector<std::vector<int64_t>> random_parts(int64_t size, std::vector<int64_t> lengths,
                                               std::optional<uint64_t> seed) {
  int64_t sum = 0;
  for (const int64_t n : lengths) {
    WEFT_CHECK(n >= 0, "random_split: lengths must not be negative; got {}", n);
    sum += n;
  }
  WEFT_CHECK(sum == size, "random_split: the lengths sum to {}, the dataset has {} samples", sum, size);
  const Generator::State state = seed ? Generator::State{*seed, 0} : default_generator().take(1);
  const std::vector<int64_t> all =
      RandomSampler(size).indices(state.seed, static_cast<int64_t>(state.offset & ~(uint64_t{1} << 63)));
  std::vector<std::vector<int64_t>> out;
  auto at = all.begin();
  for (const int64_t n : lengths) {
    out.emplace_back(at, at + n);
    at += n;
  }
  return out;
}

std::vector<int64_t> part_lengths(int64_t size, const std::vector<double>& fractions) {
  WEFT_CHECK(!fractions.empty(), "random_split: no fractions are given");
  double sum = 0;
  std::vector<int64_t> out;
  for (const double f : fractions) {
    WEFT_CHECK(f >= 0 && f <= 1, "random_split: fractions must lie in [0, 1]; got {}", f);
    sum += f;
    out.push_back(static_cast<int64_t>(std::floor(static_cast<double>(size) * f)));
  }
  WEFT_CHECK(std::abs(sum - 1) < 1e-6, "random_split: the fractions sum to {}, not to 1", sum);
  int64_t left = size - std::accumulate(out.begin(), out.end(), int64_t{0});
  for (size_t i = 0; left > 0; ++i, --left) ++out[i % out.size()];
  return out;
}

}  // namespace weft::data::detail
