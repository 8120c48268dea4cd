#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

// What a loader's threads run, seen without the types of samples and batches.
namespace weft::data::detail {

/// One batch to be made.
struct Task {
  int64_t number = 0;                      ///< in the epoch
  int64_t first = 0;                       ///< streams: number of its first sample
  std::vector<int64_t> indices;            ///< datasets with indices
  std::shared_ptr<void> raw;               ///< streams: what was pulled
  std::atomic<int64_t>* sample = nullptr;  ///< the sample being made, for errors
};

/// Makes batches. Everything here is called from several threads at once, but for pull().
class Source {
 public:
  virtual ~Source() = default;
  /// Whether samples come one after the other, with pull() before make().
  virtual bool streams() const = 0;
  /// The number of batches of the epoch; streams: unknown.
  virtual int64_t batches() const = 0;
  virtual void indices(int64_t batch, std::vector<int64_t>& out) const = 0;
  /// Takes the raw samples of the next batch from the stream, or (`skip`) drops them. False: there is none any more.
  /// By one thread at a time, in order.
  virtual bool pull(Task& task, bool skip) = 0;
  virtual std::shared_ptr<void> make(Task& task) = 0;
  virtual int64_t bytes(const void* batch) const = 0;
};

}  // namespace weft::data::detail
