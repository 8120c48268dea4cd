#include "data/collate.h"

#include <cstring>

#include "core/error.h"
#include "core/ops/shape.h"

namespace weft::data::detail {
namespace {

constexpr const char* kRemedy = "make them equal, or give the loader a `collate`";

}  // namespace

Tensor collate_tensors(const std::vector<Tensor>& samples) {
  WEFT_CHECK(!samples.empty(), "default_collate: there are no samples");
  const Tensor& first = samples[0];
  bool plain = true;
  for (size_t i = 0; i < samples.size(); ++i) {
    const Tensor& t = samples[i];
    WEFT_CHECK(t.defined(), "default_collate: sample {} of the batch has an undefined tensor", i);
    WEFT_CHECK(t.sizes() == first.sizes() && t.dtype() == first.dtype() && t.device() == first.device(),
               "default_collate: samples of a batch must be alike; the first is {}, number {} is {}; {}", first, i, t,
               kRemedy);
    plain = plain && t.device().is_cpu() && t.is_contiguous();
  }
  if (!plain || is_grad_enabled()) return stack(samples);
  Dims sizes = first.sizes();
  sizes.insert(0, static_cast<int64_t>(samples.size()));
  Tensor out = empty(sizes, {.dtype = first.dtype(), .device = DeviceType::cpu});
  char* to = static_cast<char*>(out.data_ptr());
  const size_t bytes = first.nbytes();
  for (const Tensor& t : samples) {
    if (bytes > 0) std::memcpy(to, t.data_ptr(), bytes);
    to += bytes;
  }
  return out;
}

Tensor collate_numbers(const std::vector<int64_t>& samples) {
  return tensor(samples, {.dtype = DType::i64, .device = DeviceType::cpu});
}
Tensor collate_numbers(const std::vector<double>& samples) {
  return tensor(samples, {.dtype = DType::f64, .device = DeviceType::cpu});
}
Tensor collate_bools(const std::vector<bool>& samples) {
  Tensor out = empty({static_cast<int64_t>(samples.size())}, {.dtype = DType::bool_, .device = DeviceType::cpu});
  bool* to = out.data<bool>();
  for (const bool value : samples) *to++ = value;
  return out;
}

void fail_collate_sizes(size_t first, size_t other, size_t sample) {
  WEFT_FAIL(
      "default_collate: the lists of a batch must have one length; the first has {} entries, number {} has {}; {}",
      first, sample, other, kRemedy);
}
void fail_collate_keys(size_t sample) {
  WEFT_FAIL("default_collate: the maps of a batch must have the same keys; those of number {} differ; {}", sample,
            kRemedy);
}

}  // namespace weft::data::detail
