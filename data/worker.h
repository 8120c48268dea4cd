#pragma once
#include <cstdint>
#include <stop_token>

namespace weft::data {

/// What a dataset can know about the thread that asks it for a sample.
struct WorkerInfo {
  int id = 0;  ///< 0 .. num_workers - 1
  int num_workers = 0;
  uint64_t seed = 0;  ///< of the loader
  int64_t epoch = 0;
  std::stop_token stop;  ///< the iteration is over: what waits may give up (its result is dropped)
};

/// Of the loader's thread this runs in; null in any other (torch.utils.data.get_worker_info).
const WorkerInfo* get_worker_info();

/// Where in an iteration a dataset threw. An exception of a weft class (Error, IndexError, ...) or of a standard one
/// reaches the consumer as one that is also a WorkerFailure; of any other class as it was thrown. Both are described by
/// DataLoader::failure().
struct WorkerFailure {
  int64_t sample =
      -1;             ///< index in the dataset, number in the stream; -1: outside of any sample (worker_init, collate)
  int64_t batch = 0;  ///< in its epoch
  int worker = -1;    ///< -1: made by the consumer itself
  int64_t epoch = 0;
};

namespace detail {

/// While alive, get_worker_info() of this thread is `info`.
class WorkerScope {
 public:
  explicit WorkerScope(const WorkerInfo* info);
  ~WorkerScope();
  WorkerScope(const WorkerScope&) = delete;
  WorkerScope& operator=(const WorkerScope&) = delete;

 private:
  const WorkerInfo* before_;
};

/// The seed of the random numbers of one purpose: an order of an epoch, a sample, a collate.
enum class Purpose : uint64_t { sample, order, batch };
uint64_t derive_seed(uint64_t seed, int64_t epoch, Purpose purpose, int64_t index = 0);

}  // namespace detail
}  // namespace weft::data
