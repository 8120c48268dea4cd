#pragma once
#include <atomic>
#include <cstdint>

#include "core/tensor.h"

namespace weft {

/// A stream of random numbers (torch.Generator): Philox 4x32-10, counter based, so that a seed gives the same numbers
/// for any number of threads. Every random function takes one; without it, default_generator().
class Generator {
 public:
  /// All there is: save it, and the stream goes on from there.
  struct State {
    uint64_t seed;
    uint64_t offset;  ///< counters used so far
    friend bool operator==(const State&, const State&) = default;
  };
  explicit Generator(uint64_t seed = 67280421310721) : seed_(seed) {}
  Generator(const Generator&) = delete;
  Generator& operator=(const Generator&) = delete;

  /// Starts the stream of `seed` from its beginning.
  Generator& manual_seed(uint64_t seed);
  uint64_t initial_seed() const { return seed_; }
  State get_state() const { return {seed_, offset_}; }
  void set_state(const State& s);

  /// Takes the next `counters` counters; the state before.
  State take(uint64_t counters) { return {seed_, offset_.fetch_add(counters)}; }

 private:
  std::atomic<uint64_t> seed_;
  std::atomic<uint64_t> offset_{0};
};

/// The process-wide generator; seeded by the operating system until manual_seed().
Generator& default_generator();
/// Seeds default_generator() (torch.manual_seed).
Generator& manual_seed(uint64_t seed);

}  // namespace weft
