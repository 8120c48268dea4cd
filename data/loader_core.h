#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/cuda.h"
#include "core/device.h"
#include "core/thread_guards.h"
#include "core/value.h"
#include "data/sampler.h"
#include "data/source.h"
#include "data/worker.h"

// The part of DataLoader that does not depend on the type of the samples: order, position, threads.
namespace weft::data::detail {

class Crew;
class Pipeline;

/// The options of a loader that have no sample in their type; DataLoaderOptions documents them.
struct LoaderSettings {
  int64_t batch_size = 1;
  bool shuffle = false;
  AnySampler sampler;
  AnyBatchSampler batch_sampler;
  int num_workers = 0;
  bool pin_memory = false;
  std::optional<Device> device;
  bool drop_last = false;
  double timeout = 0;
  std::function<void(int)> worker_init;
  int prefetch_factor = 2;
  int64_t prefetch_bytes = 0;
  bool persistent_workers = false;
  bool ordered = true;
  std::optional<uint64_t> seed;
  double shutdown_timeout = 5;
};

/// The batches of one epoch as lists of indices.
class Order {
 public:
  /// `size`: of the dataset.
  Order(const LoaderSettings& s, int64_t size, uint64_t seed, int64_t epoch);
  int64_t batches() const { return batches_; }
  void indices(int64_t batch, std::vector<int64_t>& out) const;

 private:
  int64_t batch_size_, samples_ = 0, batches_ = 0;
  bool sequential_ = false;
  std::vector<int64_t> indices_;
  std::vector<std::vector<int64_t>> lists_;
};

/// Random numbers of what a dataset and a collate do: a function of (seed, epoch, index) alone.
class SampleRandom {
 public:
  SampleRandom(uint64_t seed, int64_t epoch) : seed_(seed), epoch_(epoch), guard_(generator_) {}
  void begin(Purpose purpose, int64_t index) { generator_.manual_seed(derive_seed(seed_, epoch_, purpose, index)); }

 private:
  uint64_t seed_;
  int64_t epoch_;
  Generator generator_;
  GeneratorGuard guard_;
};

/// Brings tensors of a batch to where they are wanted; shared by the workers of an iteration.
class Placement {
 public:
  explicit Placement(const LoaderSettings& s);
  bool needed() const { return pin_ || device_; }
  /// Puts copies of `tensors` in place: pinned host memory, and a device, on a stream of its own. What the consumer has
  /// to wait for.
  std::shared_ptr<cuda::Event> place(const std::vector<Tensor*>& tensors) const;
  /// Makes the consumer's current stream wait, and keeps the memory until that stream is done with it.
  void hand_over(const std::vector<Tensor*>& tensors, const cuda::Event& placed) const;

 private:
  bool pin_;
  std::optional<Device> device_;
  std::optional<cuda::Stream> stream_;
};

/// Where an iteration is.
struct Progress {
  int64_t epoch = 0, delivered = 0;
  std::set<int64_t> ahead = {};  ///< unordered: batches delivered before others that precede them
  bool ended = false;
};

class LoaderCore {
 public:
  /// `size`: of the dataset, -1 for streams.
  LoaderCore(LoaderSettings settings, int64_t size);
  ~LoaderCore();

  const LoaderSettings& settings() const { return settings_; }
  uint64_t seed() const { return seed_; }
  int64_t batches() const;

  /// The next iteration begins: its place, and the epoch after it is next.
  std::shared_ptr<Progress> begin();
  int64_t epoch() const;
  void set_epoch(int64_t epoch);
  Value state_dict() const;
  void load_state_dict(const Value& state);

  std::unique_ptr<Crew> hire();
  /// Takes back the threads of an iteration that has been stopped.
  void dismiss(std::unique_ptr<Crew> crew);

  std::optional<WorkerFailure> failure;

 private:
  LoaderSettings settings_;
  int64_t size_;
  uint64_t seed_;
  Progress next_;                      ///< where the next iteration begins
  std::shared_ptr<Progress> current_;  ///< the iteration begun last
  std::unique_ptr<Crew> idle_;
};

/// One iteration, from begin() to its end or to a break.
class Iteration {
 public:
  Iteration(std::shared_ptr<LoaderCore> core, const std::function<std::shared_ptr<Source>(const Progress&)>& source);
  ~Iteration();
  Iteration(const Iteration&) = delete;
  Iteration& operator=(const Iteration&) = delete;

  /// The next batch; null at the end.
  std::shared_ptr<void> next();

 private:
  void finish();

  std::shared_ptr<LoaderCore> core_;
  std::shared_ptr<Progress> progress_;
  std::shared_ptr<Pipeline> pipeline_;
  std::unique_ptr<Crew> crew_;
};

}  // namespace weft::data::detail
