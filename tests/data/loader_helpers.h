#pragma once
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "core/ops/random.h"
#include "data/loader.h"

namespace weft::test {

/// Sample i: ([i, i, i], i).
struct Numbers {
  int64_t n;
  int64_t size() const { return n; }
  std::pair<Tensor, int64_t> get(int64_t i) const { return {full({3}, static_cast<double>(i)), i}; }
};

/// Sample i: random numbers and i.
struct Augmented {
  int64_t n;
  int64_t size() const { return n; }
  Tensor get(int64_t i) const { return rand({3}).add_(static_cast<double>(i)); }
};

/// The bytes of all tensors in a batch.
template <class Batch>
std::string bytes_of(Batch& batch) {
  std::string out;
  data::detail::for_each_tensor(batch, [&](const Tensor& t) {
    const Tensor host = t.cpu().contiguous();
    out.append(static_cast<const char*>(host.data_ptr()), host.nbytes());
  });
  return out;
}
/// Those of each batch of the next epochs.
template <class Loader>
std::vector<std::string> bytes_of_epochs(Loader& loader, int64_t epochs) {
  std::vector<std::string> out;
  for (int64_t e = 0; e < epochs; ++e)
    for (auto& batch : loader) out.push_back(bytes_of(batch));
  return out;
}

}  // namespace weft::test
