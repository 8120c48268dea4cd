#include "data/loader_core.h"

#include <algorithm>
#include <utility>

#include "core/error.h"
#include "core/random.h"
#include "data/loading/pipeline.h"

namespace weft::data::detail {
namespace {

uint64_t fresh_seed() {
  const Generator::State state = default_generator().take(1);
  // Positive as an i64, which is what files hold.
  return derive_seed(state.seed, static_cast<int64_t>(state.offset), Purpose::order, -1) >> 1;
}

void check(const LoaderSettings& s, int64_t size) {
  WEFT_CHECK(s.batch_size >= 1, "DataLoader: batch_size must be at least 1; got {}", s.batch_size);
  WEFT_CHECK(s.num_workers >= 0 && s.num_workers <= 1024, "DataLoader: num_workers must lie in 0 .. 1024; got {}",
             s.num_workers);
  WEFT_CHECK(s.prefetch_factor >= 1, "DataLoader: prefetch_factor must be at least 1; got {}", s.prefetch_factor);
  WEFT_CHECK(s.prefetch_bytes >= 0, "DataLoader: prefetch_bytes must not be negative; got {}", s.prefetch_bytes);
  WEFT_CHECK(s.timeout >= 0, "DataLoader: timeout must not be negative; got {}", s.timeout);
  WEFT_CHECK(s.timeout == 0 || s.num_workers > 0, "DataLoader: timeout needs workers; num_workers is 0");
  WEFT_CHECK(s.shutdown_timeout >= 0, "DataLoader: shutdown_timeout must not be negative; got {}", s.shutdown_timeout);
  WEFT_CHECK(!s.persistent_workers || s.num_workers > 0,
             "DataLoader: persistent_workers needs workers; num_workers is 0");
  WEFT_CHECK(!s.sampler || !s.shuffle, "DataLoader: sampler and shuffle exclude each other; give one");
  WEFT_CHECK(!s.batch_sampler || (!s.sampler && !s.shuffle && !s.drop_last && s.batch_size == 1),
             "DataLoader: batch_sampler excludes batch_size, shuffle, sampler and drop_last; give it alone");
  WEFT_CHECK(
      size >= 0 || (!s.sampler && !s.batch_sampler && !s.shuffle),
      "DataLoader: a stream has an order of its own; shuffle, sampler and batch_sampler need get(index) and size()");
  WEFT_CHECK(!s.seed || *s.seed >> 63 == 0, "DataLoader: the seed must be below 2^63");
}

Value sampler_state(const LoaderSettings& s) {
  return s.batch_sampler ? s.batch_sampler->state_dict() : s.sampler ? s.sampler->state_dict() : Value::dict();
}

}  // namespace

Order::Order(const LoaderSettings& s, int64_t size, uint64_t seed, int64_t epoch) : batch_size_(s.batch_size) {
  if (s.batch_sampler) {
    lists_ = s.batch_sampler->batches(seed, epoch);
    batches_ = static_cast<int64_t>(lists_.size());
    return;
  }
  sequential_ = !s.sampler && !s.shuffle;
  if (s.sampler)
    indices_ = s.sampler->indices(seed, epoch);
  else if (s.shuffle)
    indices_ = RandomSampler(size).indices(seed, epoch);
  samples_ = sequential_ ? size : static_cast<int64_t>(indices_.size());
  batches_ = s.drop_last ? samples_ / batch_size_ : (samples_ + batch_size_ - 1) / batch_size_;
}

void Order::indices(int64_t batch, std::vector<int64_t>& out) const {
  if (!lists_.empty()) {
    out = lists_[static_cast<size_t>(batch)];
    return;
  }
  const int64_t first = batch * batch_size_, last = std::min(samples_, first + batch_size_);
  out.clear();
  out.reserve(static_cast<size_t>(last - first));
  for (int64_t i = first; i < last; ++i) out.push_back(sequential_ ? i : indices_[static_cast<size_t>(i)]);
}

Placement::Placement(const LoaderSettings& s) : pin_(s.pin_memory && cuda::is_available()) {
  if (!s.device || s.device->is_cpu()) return;
  device_ = empty({0}, {.device = *s.device}).device();  // "cuda" gets its number, and what is missing is said here
  stream_ = cuda::Stream::create(device_->index);
}

std::shared_ptr<cuda::Event> Placement::place(const std::vector<Tensor*>& tensors) const {
  if (pin_)
    for (Tensor* t : tensors)
      if (t->device().is_cpu()) *t = t->pin_memory();
  if (!device_) return nullptr;
  const cuda::StreamGuard guard(*stream_);
  for (Tensor* t : tensors) *t = t->to(*device_, true);
  auto placed = std::make_shared<cuda::Event>(false);
  placed->record(*stream_);
  return placed;
}

void Placement::hand_over(const std::vector<Tensor*>& tensors, const cuda::Event& placed) const {
  const cuda::Stream stream = cuda::Stream::current(device_->index);
  placed.wait(stream);
  for (Tensor* t : tensors) cuda::record_stream(*t, stream);
}

LoaderCore::LoaderCore(LoaderSettings settings, int64_t size)
    : settings_(std::move(settings)), size_(size), seed_(settings_.seed ? *settings_.seed : fresh_seed()) {
  check(settings_, size);
}

LoaderCore::~LoaderCore() = default;

int64_t LoaderCore::batches() const {
  WEFT_CHECK(size_ >= 0, "DataLoader: a stream does not know its number of batches");
  if (settings_.batch_sampler) return settings_.batch_sampler->size();
  const int64_t samples = settings_.sampler ? settings_.sampler->size() : size_, batch = settings_.batch_size;
  return settings_.drop_last ? samples / batch : (samples + batch - 1) / batch;
}

std::shared_ptr<Progress> LoaderCore::begin() {
  current_ = std::make_shared<Progress>(std::move(next_));
  next_ = {.epoch = current_->epoch + 1};
  return current_;
}

int64_t LoaderCore::epoch() const { return current_ && !current_->ended ? current_->epoch : next_.epoch; }

void LoaderCore::set_epoch(int64_t epoch) {
  WEFT_CHECK(epoch >= 0, "DataLoader: the epoch must not be negative; got {}", epoch);
  next_ = {.epoch = epoch};
  current_ = nullptr;
}

Value LoaderCore::state_dict() const {
  const Progress& at = current_ && !current_->ended ? *current_ : next_;
  return {{"seed", seed_},
          {"epoch", at.epoch},
          {"batch", at.delivered},
          {"ahead", std::vector<int64_t>(at.ahead.begin(), at.ahead.end())},
          {"samples", size_},
          {"batch_size", settings_.batch_size},
          {"sampler", sampler_state(settings_)}};
}

void LoaderCore::load_state_dict(const Value& state) {
  const char* what = "DataLoader.load_state_dict";
  WEFT_CHECK_TYPE(state.is_dict(), "{}: expects the dict that state_dict() gives, got {}", what, state.kind_name());
  for (const char* key : {"seed", "epoch", "batch", "ahead", "samples", "batch_size", "sampler"})
    WEFT_CHECK(state.contains(key), "{}: the state has no '{}'; is it that of a loader?", what, key);
  const int64_t seed = state["seed"].as_int("seed"), samples = state["samples"].as_int("samples"),
                batch_size = state["batch_size"].as_int("batch_size");
  Progress at{.epoch = state["epoch"].as_int("epoch"), .delivered = state["batch"].as_int("batch")};
  for (const int64_t batch : state["ahead"].as_ints("ahead")) at.ahead.insert(batch);
  WEFT_CHECK(seed >= 0 && at.epoch >= 0 && at.delivered >= 0, "{}: seed, epoch and batch must not be negative", what);
  WEFT_CHECK(samples == size_ && batch_size == settings_.batch_size,
             "{}: the state is of {} samples in batches of {}, this loader has {} in batches of {}", what, samples,
             batch_size, size_, settings_.batch_size);
  if (settings_.batch_sampler)
    settings_.batch_sampler->load_state_dict(state["sampler"]);
  else if (settings_.sampler)
    settings_.sampler->load_state_dict(state["sampler"]);
  seed_ = static_cast<uint64_t>(seed);
  next_ = std::move(at);
  current_ = nullptr;
}

std::unique_ptr<Crew> LoaderCore::hire() {
  if (idle_) return std::move(idle_);
  return std::make_unique<Crew>(settings_.num_workers, settings_.worker_init, settings_.shutdown_timeout);
}

void LoaderCore::dismiss(std::unique_ptr<Crew> crew) {
  if (settings_.persistent_workers && !idle_ && crew->rest(settings_.shutdown_timeout)) idle_ = std::move(crew);
}

Iteration::Iteration(std::shared_ptr<LoaderCore> core,
                     const std::function<std::shared_ptr<Source>(const Progress&)>& source)
    : core_(std::move(core)), progress_(core_->begin()) {
  const LoaderSettings& s = core_->settings();
  if (s.num_workers > 0) crew_ = core_->hire();
  pipeline_ = std::make_shared<Pipeline>(source(*progress_),
                                         PipelineOptions{.workers = crew_ ? crew_->workers() : 0,
                                                         .depth = int64_t{s.num_workers} * s.prefetch_factor,
                                                         .bytes = s.prefetch_bytes,
                                                         .ordered = s.ordered,
                                                         .timeout = s.timeout,
                                                         .seed = core_->seed(),
                                                         .epoch = progress_->epoch,
                                                         .first = progress_->delivered,
                                                         .ahead = progress_->ahead});
  if (crew_) crew_->begin(pipeline_);
}

Iteration::~Iteration() { finish(); }

void Iteration::finish() {
  if (!pipeline_) return;
  pipeline_->stop();
  pipeline_ = nullptr;
  if (crew_) core_->dismiss(std::move(crew_));
}

std::shared_ptr<void> Iteration::next() {
  if (!pipeline_) return nullptr;
  std::shared_ptr<void> batch;
  try {
    batch = pipeline_->next();
  } catch (...) {
    core_->failure = pipeline_->failure();
    throw;
  }
  progress_->delivered = pipeline_->delivered();
  progress_->ahead = pipeline_->ahead();
  if (!batch) {
    progress_->ended = true;
    finish();
  }
  return batch;
}

}  // namespace weft::data::detail
