#pragma once
#include <concepts>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "core/value.h"

namespace weft::data {

/// The order in which a loader asks a dataset for its samples. The order of an epoch is a function of (seed, epoch)
/// alone, so that a loader can resume in its middle; derive from this for an order of your own.
class Sampler {
 public:
  virtual ~Sampler() = default;
  /// Indices in an epoch.
  virtual int64_t size() const = 0;
  /// size() indices. `seed`: of the loader.
  virtual std::vector<int64_t> indices(uint64_t seed, int64_t epoch) const = 0;
  /// What the order depends on besides (seed, epoch): part of the loader's state.
  virtual Value state_dict() const { return Value::dict(); }
  virtual void load_state_dict(const Value&) {}
};

/// 0, 1, .., size - 1.
class SequentialSampler : public Sampler {
 public:
  explicit SequentialSampler(int64_t size);
  int64_t size() const override { return size_; }
  std::vector<int64_t> indices(uint64_t seed, int64_t epoch) const override;

 private:
  int64_t size_;
};

struct RandomSamplerOptions {
  bool replacement = false;
  std::optional<int64_t> num_samples = {};  ///< default: the size of the dataset; more: further shuffles follow
};
/// A permutation of 0 .. size - 1, another one each epoch; with replacement independent draws.
class RandomSampler : public Sampler {
 public:
  explicit RandomSampler(int64_t size, RandomSamplerOptions options = {});
  int64_t size() const override { return options_.num_samples.value_or(size_); }
  std::vector<int64_t> indices(uint64_t seed, int64_t epoch) const override;

 private:
  int64_t size_;
  RandomSamplerOptions options_;
};

/// The given indices in random order.
class SubsetRandomSampler : public Sampler {
 public:
  explicit SubsetRandomSampler(std::vector<int64_t> indices) : indices_(std::move(indices)) {}
  int64_t size() const override { return static_cast<int64_t>(indices_.size()); }
  std::vector<int64_t> indices(uint64_t seed, int64_t epoch) const override;

 private:
  std::vector<int64_t> indices_;
};

/// `num_samples` indices drawn by weight (>= 0, need not sum to 1). Without replacement at most as many as there are
/// weights.
class WeightedRandomSampler : public Sampler {
 public:
  WeightedRandomSampler(std::vector<double> weights, int64_t num_samples, bool replacement = true);
  int64_t size() const override { return num_samples_; }
  std::vector<int64_t> indices(uint64_t seed, int64_t epoch) const override;

 private:
  std::vector<double> weights_;
  int64_t num_samples_;
  bool replacement_;
};

struct DistributedSamplerOptions {
  int64_t num_replicas = 1;  ///< ranks
  int64_t rank = 0;
  bool shuffle = true;
  uint64_t seed = 0;  ///< the same on every rank (the seed of the loader is not used)
  /// Leave out the tail that does not divide evenly; else the first samples come again on the last ranks.
  bool drop_last = false;
};
/// The samples of one of several ranks: every rank gets equally many, and together all of them.
class DistributedSampler : public Sampler {
 public:
  DistributedSampler(int64_t size, DistributedSamplerOptions options);
  int64_t size() const override { return each_; }
  std::vector<int64_t> indices(uint64_t seed, int64_t epoch) const override;
  /// The epoch whose order is used from now on. Without it the loader's, which advances by itself.
  void set_epoch(int64_t epoch) { epoch_ = epoch; }
  Value state_dict() const override;
  void load_state_dict(const Value& state) override;

 private:
  int64_t size_, each_;
  DistributedSamplerOptions options_;
  std::optional<int64_t> epoch_;
};

/// A sampler given by value or by a shared pointer; or none.
class AnySampler {
 public:
  AnySampler() = default;
  template <std::derived_from<Sampler> S>
  AnySampler(S sampler) : sampler_(std::make_shared<S>(std::move(sampler))) {}
  template <std::derived_from<Sampler> S>
  AnySampler(std::shared_ptr<S> sampler) : sampler_(std::move(sampler)) {}
  Sampler* get() const { return sampler_.get(); }
  Sampler* operator->() const { return sampler_.get(); }
  explicit operator bool() const { return sampler_ != nullptr; }

 private:
  std::shared_ptr<Sampler> sampler_;
};

/// Indices in batches. Derive from this for batches of your own (by length, by class).
class BatchSampler {
 public:
  BatchSampler(AnySampler sampler, int64_t batch_size, bool drop_last = false);
  virtual ~BatchSampler() = default;
  /// Batches in an epoch.
  virtual int64_t size() const;
  /// size() lists of indices; a function of (seed, epoch) alone.
  virtual std::vector<std::vector<int64_t>> batches(uint64_t seed, int64_t epoch) const;
  virtual Value state_dict() const;
  virtual void load_state_dict(const Value& state);

 protected:
  BatchSampler() = default;

 private:
  AnySampler sampler_;
  int64_t batch_size_ = 1;
  bool drop_last_ = false;
};

/// A batch sampler given by value or by a shared pointer; or none.
class AnyBatchSampler {
 public:
  AnyBatchSampler() = default;
  template <std::derived_from<BatchSampler> S>
  AnyBatchSampler(S sampler) : sampler_(std::make_shared<S>(std::move(sampler))) {}
  template <std::derived_from<BatchSampler> S>
  AnyBatchSampler(std::shared_ptr<S> sampler) : sampler_(std::move(sampler)) {}
  BatchSampler* operator->() const { return sampler_.get(); }
  explicit operator bool() const { return sampler_ != nullptr; }

 private:
  std::shared_ptr<BatchSampler> sampler_;
};

}  // namespace weft::data
