#pragma once
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/error.h"
#include "data/collate.h"
#include "data/dataset.h"
#include "data/loader_core.h"

namespace weft::data {

namespace detail {
template <class D>
struct BatchType {};
template <class D>
requires IndexedDataset<D> || IterableDataset<D>
struct BatchType<D> {
  using type = data::Batch<SampleOf<D>>;
};
template <GatheringDataset D>
struct BatchType<D> {
  using type = std::remove_cvref_t<decltype(std::declval<const D&>().get_batch(std::span<const int64_t>()))>;
};
template <class D>
using DefaultBatch = typename BatchType<D>::type;
}  // namespace detail

/// Options of a DataLoader, named as torch.utils.data's.
template <class Sample, class Batch>
struct DataLoaderOptions {
  int64_t batch_size = 1;
  bool shuffle = false;                ///< another order each epoch
  AnySampler sampler = {};             ///< instead of shuffle
  AnyBatchSampler batch_sampler = {};  ///< instead of batch_size, shuffle, sampler and drop_last
  int num_workers = 0;                 ///< threads; 0: the consumer makes its batches itself. Never changes results
  std::function<Batch(std::vector<Sample>)> collate = {};  ///< default: default_collate
  /// Batches come in page-locked memory, where there is a CUDA device (elsewhere: nothing).
  bool pin_memory = false;
  /// Batches come on this device; copied by the workers, on a stream of their own, without waiting if pin_memory.
  std::optional<Device> device = {};
  bool drop_last = false;  ///< leave out a last batch that is smaller
  double timeout = 0;      ///< seconds to wait for a batch before an error names who is busy; 0: for ever
  std::function<void(int worker)> worker_init = {};  ///< called first in each thread
  int prefetch_factor = 2;                           ///< batches made ahead, for each worker
  int64_t prefetch_bytes = 0;         ///< bytes of batches made ahead, in all; one batch is always allowed. 0: no bound
  bool persistent_workers = false;    ///< keep the threads between epochs
  bool ordered = true;                ///< false: a batch that is made may overtake a slow one
  std::optional<uint64_t> seed = {};  ///< of order and augmentation, below 2^63; default: from default_generator()
  double shutdown_timeout = 5;        ///< seconds that the end of an iteration waits for running calls of the dataset
};

namespace detail {

template <class Batch>
struct Placed {
  Batch batch;
  std::shared_ptr<cuda::Event> event;  ///< when it has arrived on its device
};

template <class Batch>
std::vector<Tensor*> tensors_of(Batch& batch) {
  std::vector<Tensor*> out;
  for_each_tensor(batch, [&](Tensor& t) {
    if (t.defined()) out.push_back(&t);
  });
  return out;
}

/// Makes the batches of an epoch.
template <class D, class Batch, class Sample>
class BatchSource final : public Source {
 public:
  using Collate = std::function<Batch(std::vector<Sample>)>;
  BatchSource(std::shared_ptr<const D> dataset, Collate collate, std::shared_ptr<const Placement> placement,
              const LoaderSettings& s, uint64_t seed, int64_t epoch)
      : dataset_(std::move(dataset)),
        collate_(std::move(collate)),
        placement_(std::move(placement)),
        batch_size_(s.batch_size),
        drop_last_(s.drop_last),
        seed_(seed),
        epoch_(epoch) {
    if constexpr (kStreams)
      stream_.emplace(*dataset_);
    else
      order_.emplace(s, dataset_->size(), seed, epoch);
  }

  bool streams() const override { return kStreams; }
  int64_t batches() const override {
    if constexpr (kStreams)
      return 0;
    else
      return order_->batches();
  }
  void indices(int64_t batch, std::vector<int64_t>& out) const override {
    if constexpr (!kStreams) order_->indices(batch, out);
  }

  bool pull(Task& task, bool skip) override {
    if constexpr (kStreams) {
      task.first = task.number * batch_size_;
      SampleRandom random(seed_, epoch_);
      if constexpr (requires(D & d) { d.skip(batch_size_); })
        if (skip) return stream_->skip(batch_size_), true;
      auto raw = std::make_shared<std::vector<Raw>>();
      for (int64_t i = 0; i < batch_size_; ++i) {
        task.sample->store(task.first + i, std::memory_order_relaxed);
        random.begin(Purpose::sample, task.first + i);
        auto one = read(*stream_);
        if (!one) break;
        raw->push_back(std::move(*one));
      }
      task.sample->store(-1, std::memory_order_relaxed);
      if (raw->empty() || (drop_last_ && static_cast<int64_t>(raw->size()) < batch_size_)) return false;
      task.raw = std::move(raw);
    }
    return true;
  }

  std::shared_ptr<void> make(Task& task) override {
    SampleRandom random(seed_, epoch_);
    auto out = std::make_shared<Placed<Batch>>();
    if constexpr (GatheringDataset<D>) {
      if (!collate_ && gathers(*dataset_)) {
        random.begin(Purpose::batch, task.number);
        out->batch = dataset_->get_batch(std::span<const int64_t>(task.indices));
        place(*out);
        return out;
      }
    }
    std::vector<Sample> samples;
    if (!fill(task, random, samples)) return nullptr;
    task.sample->store(-1, std::memory_order_relaxed);
    random.begin(Purpose::batch, task.number);
    if (collate_) {
      out->batch = collate_(std::move(samples));
    } else if constexpr (std::is_same_v<Batch, data::Batch<Sample>>) {
      out->batch = default_collate(std::move(samples));
    } else {
      WEFT_FAIL("DataLoader: a batch of another type than default_collate makes needs a `collate`");
    }
    place(*out);
    return out;
  }

  int64_t bytes(const void* batch) const override {
    int64_t sum = 0;
    for (Tensor* t : tensors_of(const_cast<Placed<Batch>*>(static_cast<const Placed<Batch>*>(batch))->batch))
      sum += static_cast<int64_t>(t->nbytes());
    return sum;
  }

 private:
  static constexpr bool kStreams = IterableDataset<D>;

  static auto read(D& d) requires kStreams {
    if constexpr (requires { d.pull(); })
      return d.pull();
    else
      return d.next();
  }
  static auto raw_type() {
    if constexpr (kStreams)
      return std::type_identity<typename decltype(read(std::declval<D&>()))::value_type>();
    else
      return std::type_identity<Sample>();
  }
  using Raw = typename decltype(raw_type())::type;

  /// False: the iteration was stopped, and nobody wants the batch.
  bool fill(Task& task, SampleRandom& random, std::vector<Sample>& out) const {
    const WorkerInfo* info = get_worker_info();
    const std::stop_token stop = info ? info->stop : std::stop_token();
    const auto begin = [&](int64_t index) {
      task.sample->store(index, std::memory_order_relaxed);
      random.begin(Purpose::sample, index);
      return !stop.stop_requested();
    };
    if constexpr (kStreams) {
      auto& raw = *static_cast<std::vector<Raw>*>(task.raw.get());
      if constexpr (requires(D & d) { d.pull(); }) {
        out.reserve(raw.size());
        int64_t index = task.first;
        for (Raw& r : raw) {
          if (!begin(index++)) return false;
          out.push_back(stream_->finish(std::move(r)));
        }
      } else {
        out = std::move(raw);
      }
    } else {
      out.reserve(task.indices.size());
      for (const int64_t index : task.indices) {
        if (!begin(index)) return false;
        out.push_back(get_sample(*dataset_, index, stop));
      }
    }
    return true;
  }

  void place(Placed<Batch>& out) const {
    if (placement_->needed()) out.event = placement_->place(tensors_of(out.batch));
  }

  std::shared_ptr<const D> dataset_;
  Collate collate_;
  std::shared_ptr<const Placement> placement_;
  int64_t batch_size_;
  bool drop_last_;
  uint64_t seed_;
  int64_t epoch_;
  std::optional<Order> order_;
  std::optional<D> stream_;
};

}  // namespace detail

/// Batches of a dataset, made ahead by threads (torch.utils.data.DataLoader):
///
///     data::DataLoader loader(data::TensorDataset(images, labels), {.batch_size = 64, .shuffle = true, .num_workers =
///     2}); for (int epoch = 0; epoch < 10; ++epoch)
///       for (auto [x, y] : loader) step(x, y);
///
/// The order of an epoch is a function of (seed, epoch), the random numbers inside a sample (those of
/// default_generator()) of (seed, epoch, index), so any number of workers gives the same bytes, in a new order each
/// epoch. Workers record no history and run their ops on one thread each. Several iterations may run at a time, each of
/// an epoch of its own; leaving one early costs nothing, the next begins a new epoch.
///
/// What a dataset throws arrives with its class at the batch it belongs to, and tells the sample, the worker and the
/// epoch (WorkerFailure). The end of an iteration waits for calls of the dataset that run, but no longer than
/// shutdown_timeout; a thread that is still inside of one then is left behind, owns the dataset, and ends with the
/// call: such a get() must not use what the dataset does not own. `get(index, stop_token)` and get_worker_info()->stop
/// let it return at once.
///
/// A loader and its iterators belong to one thread. `Batch`: what `collate` returns, where that is not
/// default_collate's type: `DataLoader<Words, Tensor> loader(words, {.collate = pad});`
template <class D, class Batch = detail::DefaultBatch<D>>
class DataLoader {
 public:
  static_assert(IndexedDataset<D> || IterableDataset<D>,
                "a dataset has get(index) const and size() const; a stream is copyable and has next()");
  using Sample = SampleOf<D>;
  using Options = DataLoaderOptions<Sample, Batch>;

  DataLoader(D dataset, DataLoaderOptions<SampleOf<D>, Batch> options = {})
      : DataLoader(std::make_shared<const D>(std::move(dataset)), std::move(options)) {}
  /// Shares the dataset.
  DataLoader(std::shared_ptr<const D> dataset, Options o = {})
      : dataset_(std::move(dataset)), collate_(std::move(o.collate)) {
    WEFT_CHECK(dataset_ != nullptr, "DataLoader: the dataset is null");
    int64_t size = -1;
    if constexpr (IndexedDataset<D>) size = dataset_->size();
    core_ = std::make_shared<detail::LoaderCore>(
        detail::LoaderSettings{o.batch_size, o.shuffle, std::move(o.sampler), std::move(o.batch_sampler), o.num_workers,
                               o.pin_memory, o.device, o.drop_last, o.timeout, std::move(o.worker_init),
                               o.prefetch_factor, o.prefetch_bytes, o.persistent_workers, o.ordered, o.seed,
                               o.shutdown_timeout},
        size);
    placement_ = std::make_shared<const detail::Placement>(core_->settings());
  }

  class Iterator {
   public:
    using value_type = Batch;
    using difference_type = std::ptrdiff_t;
    using iterator_category = std::input_iterator_tag;

    Batch& operator*() const { return batch_->batch; }
    Batch* operator->() const { return &batch_->batch; }
    Iterator& operator++() {
      batch_ = nullptr;  // its memory may serve the next one
      advance();
      return *this;
    }
    void operator++(int) { ++*this; }
    friend bool operator==(const Iterator& it, std::default_sentinel_t) { return it.batch_ == nullptr; }

   private:
    friend class DataLoader;
    Iterator(std::shared_ptr<detail::Iteration> iteration, std::shared_ptr<const detail::Placement> placement)
        : iteration_(std::move(iteration)), placement_(std::move(placement)) {
      advance();
    }
    void advance() {
      batch_ = std::static_pointer_cast<detail::Placed<Batch>>(iteration_->next());
      if (batch_ && batch_->event) {
        placement_->hand_over(detail::tensors_of(batch_->batch), *batch_->event);
        batch_->event = nullptr;
      }
    }
    std::shared_ptr<detail::Iteration> iteration_;
    std::shared_ptr<const detail::Placement> placement_;
    std::shared_ptr<detail::Placed<Batch>> batch_;
  };

  /// Begins an iteration: the next epoch, or where a loaded state stopped.
  Iterator begin() {
    auto iteration = std::make_shared<detail::Iteration>(core_, [this](const detail::Progress& at) {
      return std::make_shared<detail::BatchSource<D, Batch, Sample>>(dataset_, collate_, placement_, core_->settings(),
                                                                     core_->seed(), at.epoch);
    });
    return Iterator(std::move(iteration), placement_);
  }
  std::default_sentinel_t end() const { return {}; }

  /// Batches in an epoch; weft::Error for streams.
  int64_t size() const { return core_->batches(); }
  const D& dataset() const { return *dataset_; }
  uint64_t seed() const { return core_->seed(); }
  /// Of the iteration under way, else of the next.
  int64_t epoch() const { return core_->epoch(); }
  /// The epoch of the next iteration; without it they count from 0.
  void set_epoch(int64_t epoch) { core_->set_epoch(epoch); }

  /// Seed, epoch and the batches delivered of the iteration begun last. Valid between any two batches, in their loop
  /// body and after the end of an epoch; holds for any number of workers.
  Value state_dict() const { return core_->state_dict(); }
  /// The next iteration delivers what the saved one would have delivered next. weft::Error when the state is of another
  /// dataset size or batch size.
  void load_state_dict(const Value& state) { core_->load_state_dict(state); }
  /// Where the dataset threw, after an iteration has thrown; none after a timeout.
  const std::optional<WorkerFailure>& failure() const { return core_->failure; }

 private:
  std::shared_ptr<const D> dataset_;
  std::function<Batch(std::vector<Sample>)> collate_;
  std::shared_ptr<detail::LoaderCore> core_;
  std::shared_ptr<const detail::Placement> placement_;
};
template <class D>
DataLoader(D) -> DataLoader<D>;
template <class D>
DataLoader(D, DataLoaderOptions<SampleOf<D>, detail::DefaultBatch<D>>) -> DataLoader<D>;
template <class D>
DataLoader(std::shared_ptr<D>) -> DataLoader<std::remove_const_t<D>>;
template <class D>
DataLoader(std::shared_ptr<D>, DataLoaderOptions<SampleOf<D>, detail::DefaultBatch<D>>)
    -> DataLoader<std::remove_const_t<D>>;

}  // namespace weft::data
