#include "data/sampler.h"

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "core/ops/random.h"
#include "core/thread_state.h"
#include "data/worker.h"

namespace weft::data {
namespace {

std::vector<int64_t> list_of(const Tensor& t) {
  const Tensor flat = t.contiguous();
  const auto* first = flat.data<int64_t>();
  return {first, first + flat.numel()};
}

Generator generator_of(uint64_t seed, int64_t epoch) {
  return Generator(detail::derive_seed(seed, epoch, detail::Purpose::order));
}

void check_size(int64_t size, const char* what) {
  WEFT_CHECK(size >= 0, "{}: the size must not be negative; got {}", what, size);
}

}  // namespace

SequentialSampler::SequentialSampler(int64_t size) : size_(size) { check_size(size, "SequentialSampler"); }
std::vector<int64_t> SequentialSampler::indices(uint64_t, int64_t) const {
  std::vector<int64_t> out(static_cast<size_t>(size_));
  std::iota(out.begin(), out.end(), 0);
  return out;
}

RandomSampler::RandomSampler(int64_t size, RandomSamplerOptions options) : size_(size), options_(options) {
  check_size(size, "RandomSampler");
  WEFT_CHECK(this->size() >= 0, "RandomSampler: num_samples must not be negative; got {}", this->size());
  WEFT_CHECK(this->size() == 0 || size > 0, "RandomSampler: cannot draw {} samples of an empty dataset", this->size());
}
std::vector<int64_t> RandomSampler::indices(uint64_t seed, int64_t epoch) const {
  const NoGrad guard;
  Generator generator = generator_of(seed, epoch);
  if (options_.replacement) return list_of(randint(size_, {size()}, {.device = DeviceType::cpu}, &generator));
  std::vector<int64_t> out;
  out.reserve(static_cast<size_t>(size()));
  while (static_cast<int64_t>(out.size()) < size()) {
    const std::vector<int64_t> once = list_of(randperm(size_, {.device = DeviceType::cpu}, &generator));
    const auto n = std::min<int64_t>(size_, size() - static_cast<int64_t>(out.size()));
    out.insert(out.end(), once.begin(), once.begin() + n);
  }
  return out;
}

std::vector<int64_t> SubsetRandomSampler::indices(uint64_t seed, int64_t epoch) const {
  const NoGrad guard;
  Generator generator = generator_of(seed, epoch);
  std::vector<int64_t> out = list_of(randperm(size(), {.device = DeviceType::cpu}, &generator));
  for (int64_t& i : out) i = indices_[static_cast<size_t>(i)];
  return out;
}

WeightedRandomSampler::WeightedRandomSampler(std::vector<double> weights, int64_t num_samples, bool replacement)
    : weights_(std::move(weights)), num_samples_(num_samples), replacement_(replacement) {
  check_size(num_samples, "WeightedRandomSampler");
  WEFT_CHECK(num_samples == 0 || !weights_.empty(), "WeightedRandomSampler: there are no weights");
  for (const double w : weights_)
    WEFT_CHECK(w >= 0 && w <= 1e300, "WeightedRandomSampler: weights must be finite and not negative; got {}", w);
}
std::vector<int64_t> WeightedRandomSampler::indices(uint64_t seed, int64_t epoch) const {
  if (num_samples_ == 0) return {};
  const NoGrad guard;
  Generator generator = generator_of(seed, epoch);
  return list_of(multinomial(tensor(weights_, {.dtype = DType::f64, .device = DeviceType::cpu}), num_samples_,
                             replacement_, &generator));
}

DistributedSampler::DistributedSampler(int64_t size, DistributedSamplerOptions options)
    : size_(size), options_(options) {
  check_size(size, "DistributedSampler");
  WEFT_CHECK(options.num_replicas >= 1 && options.rank >= 0 && options.rank < options.num_replicas,
             "DistributedSampler: rank must lie in 0 .. num_replicas - 1; got rank {} of {}", options.rank,
             options.num_replicas);
  each_ = options.drop_last ? size / options.num_replicas : (size + options.num_replicas - 1) / options.num_replicas;
}
std::vector<int64_t> DistributedSampler::indices(uint64_t, int64_t epoch) const {
  const std::vector<int64_t> all = options_.shuffle
                                       ? RandomSampler(size_).indices(options_.seed, epoch_.value_or(epoch))
                                       : SequentialSampler(size_).indices(0, 0);
  std::vector<int64_t> out;
  out.reserve(static_cast<size_t>(each_));
  for (int64_t i = 0; i < each_; ++i)
    out.push_back(all[static_cast<size_t>((i * options_.num_replicas + options_.rank) % size_)]);
  return out;
}
Value DistributedSampler::state_dict() const {
  Value state = Value::dict();
  if (epoch_) state.set("epoch", *epoch_);
  return state;
}
void DistributedSampler::load_state_dict(const Value& state) {
  const Value* epoch = state.find("epoch");
  epoch_ = epoch ? std::optional(epoch->as_int("epoch")) : std::nullopt;
}

BatchSampler::BatchSampler(AnySampler sampler, int64_t batch_size, bool drop_last)
    : sampler_(std::move(sampler)), batch_size_(batch_size), drop_last_(drop_last) {
  WEFT_CHECK(static_cast<bool>(sampler_), "BatchSampler: needs a sampler");
  WEFT_CHECK(batch_size >= 1, "BatchSampler: batch_size must be at least 1; got {}", batch_size);
}
int64_t BatchSampler::size() const {
  WEFT_CHECK(static_cast<bool>(sampler_), "BatchSampler: a derived class must have its own size() and batches()");
  return drop_last_ ? sampler_->size() / batch_size_ : (sampler_->size() + batch_size_ - 1) / batch_size_;
}
std::vector<std::vector<int64_t>> BatchSampler::batches(uint64_t seed, int64_t epoch) const {
  std::vector<std::vector<int64_t>> out(static_cast<size_t>(size()));
  const std::vector<int64_t> all = sampler_->indices(seed, epoch);
  for (size_t b = 0; b < out.size(); ++b) {
    const size_t first = b * static_cast<size_t>(batch_size_);
    const size_t last = std::min(all.size(), first + static_cast<size_t>(batch_size_));
    out[b].assign(all.begin() + static_cast<int64_t>(first), all.begin() + static_cast<int64_t>(last));
  }
  return out;
}
Value BatchSampler::state_dict() const { return sampler_ ? sampler_->state_dict() : Value::dict(); }
void BatchSampler::load_state_dict(const Value& state) {
  if (sampler_) sampler_->load_state_dict(state);
}

}  // namespace weft::data
