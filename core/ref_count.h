#pragma once
#include <atomic>
#include <cstdint>
#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#endif

namespace weft {

/// Owners of an object, the first one included. While the process has one thread, counting needs no locked
/// instructions (a fifth of the time of a small op), as in libstdc++'s shared_ptr.
class RefCount {
 public:
  int32_t value() const { return count_.load(std::memory_order_acquire); }
  void add() { change(1, std::memory_order_relaxed); }
  /// True for the last owner.
  bool drop() { return change(-1, std::memory_order_acq_rel) == 1; }
  /// The same where no other thread can find the object but through an owner: the last one need not write.
  bool drop_last() { return value() == 1 || drop(); }
  /// For weak holders: one more owner unless there is none any more.
  bool add_if_alive() {
    int32_t now = value();
    while (now > 0)
      if (count_.compare_exchange_weak(now, now + 1)) return true;
    return false;
  }

 private:
  static bool one_thread() {
#if __has_include(<sys/single_threaded.h>)
    return __libc_single_threaded;
#else
    return false;
#endif
  }
  int32_t change(int32_t by, std::memory_order order) {
    if (!one_thread()) return count_.fetch_add(by, order);
    const int32_t before = count_.load(std::memory_order_relaxed);
    count_.store(before + by, std::memory_order_relaxed);
    return before;
  }
  std::atomic<int32_t> count_{1};
};

}  // namespace weft
