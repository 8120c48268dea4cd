#include "core/parallel.h"

#include <sched.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/thread_guards.h"

namespace weft {
namespace {

thread_local bool tls_in_region = false;

constexpr int kMaxThreads = 1024;
// Eager ops follow each other within microseconds: a worker that slept at once would pay a wake-up (5-50 us) for each.
constexpr auto kSpin = std::chrono::microseconds(40);

void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

int initial_threads() {
  if (const char* text = std::getenv("WEFT_NUM_THREADS")) {
    char* end = nullptr;
    const long value = std::strtol(text, &end, 10);
    if (end != text && *end == '\0' && value >= 1) return static_cast<int>(std::min<long>(value, kMaxThreads));
  }
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
  return std::clamp(static_cast<int>(std::thread::hardware_concurrency()), 1, kMaxThreads);
}

std::atomic<int>& thread_count() {
  static std::atomic<int> count{initial_threads()};
  return count;
}

// One job at a time, owned by the thread that holds busy_. A worker enters a job by inside_ += 1 and then looks at
// open_; the owner closes by open_ = false and then waits for inside_ == 0. All four are sequentially consistent, so
// either the worker sees the closed job and leaves, or the owner sees the worker and waits: job fields are never read
// while they change.
class Pool {
 public:
  ~Pool() { stop(); }

  bool run(int64_t pieces, detail::PieceFn fn, void* context) {
    std::unique_lock<std::mutex> owner(busy_, std::try_to_lock);
    if (!owner.owns_lock()) return false;
    const int threads = thread_count().load(std::memory_order_relaxed);
    if (workers_.empty()) start(threads - 1);
    if (workers_.empty()) return false;
    fn_ = fn;
    context_ = context;
    take_ = std::max<int64_t>(1, pieces / (int64_t{threads} * 8));
    error_ = nullptr;
    const int64_t shares = std::min(pieces, static_cast<int64_t>(shares_.size()));
    given_ = static_cast<size_t>(shares);
    for (int64_t s = 0; s < shares; ++s) {
      shares_[static_cast<size_t>(s)].end = pieces * (s + 1) / shares;
      shares_[static_cast<size_t>(s)].next.store(pieces * s / shares, std::memory_order_relaxed);
    }
    open_.store(true);
    epoch_.fetch_add(1);
    if (sleepers_.load() != 0) epoch_.notify_all();
    work(0);
    open_.store(false);
    for (int spins = 0; inside_.load() != 0; ++spins) {
      if (spins < 4096) {
        relax();
      } else {
        std::this_thread::yield();
      }
    }
    if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
    return true;
  }

  // The next run() starts as many workers as are wanted then.
  void resize(int threads) {
    std::lock_guard<std::mutex> owner(busy_);
    thread_count().store(threads);
    stop();
  }

 private:
  void start(int count) {
    process_ = ::getpid();
    stopping_.store(false);
    const uint32_t epoch = epoch_.load();
    shares_ = std::vector<Share>(static_cast<size_t>(count) + 1);  // workers look at them when a job is open
    for (int i = 0; i < count; ++i) {
      try {
        workers_.emplace_back([this, epoch, i] { serve(epoch, static_cast<size_t>(i) + 1); });
      } catch (const std::system_error&) {
        return;  // the system gives no more threads: work with those there are
      }
    }
  }

  void stop() {
    if (process_ != ::getpid()) {  // after fork(), which leaves threads behind: nobody is there to wait for
      static std::vector<std::vector<std::thread>>& lost = *new std::vector<std::vector<std::thread>>();
      lost.push_back(std::exchange(workers_, {}));
      return;
    }
    stopping_.store(true);
    epoch_.fetch_add(1);
    epoch_.notify_all();
    for (std::thread& worker : workers_) worker.join();
    workers_.clear();
  }

  // First the own share: the next job over the same rows finds them in the caches of the same core. Then what others
  // have left.
  void work(size_t mine) {
    tls_in_region = true;
    for (size_t s = 0; s < given_; ++s) {
      Share& share = shares_[(mine + s) % given_];
      // A share that is done is not written to: its line stays with all who look.
      while (share.next.load(std::memory_order_relaxed) < share.end) {
        const int64_t first = share.next.fetch_add(take_);
        if (first >= share.end) break;
        const int64_t last = std::min(share.end, first + take_);
        try {
          for (int64_t i = first; i < last; ++i) fn_(context_, i);
        } catch (...) {
          for (size_t o = 0; o < given_; ++o) shares_[o].next.store(shares_[o].end);
          std::lock_guard<std::mutex> lock(error_mutex_);
          if (!error_) error_ = std::current_exception();
        }
      }
    }
    tls_in_region = false;
  }

  void serve(uint32_t seen, size_t mine) {
    for (;;) {
      seen = await_change(seen);
      if (stopping_.load()) return;
      inside_.fetch_add(1);
      if (open_.load()) work(mine);
      inside_.fetch_sub(1);
    }
  }

  uint32_t await_change(uint32_t seen) {
    const auto until = std::chrono::steady_clock::now() + kSpin;
    do {
      for (int i = 0; i < 64; ++i) {
        const uint32_t now = epoch_.load();
        if (now != seen) return now;
        relax();
      }
    } while (std::chrono::steady_clock::now() < until);
    sleepers_.fetch_add(1);
    epoch_.wait(seen);
    sleepers_.fetch_sub(1);
    return epoch_.load();
  }

  struct alignas(64) Share {  // of the pieces
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };

  std::mutex busy_;
  std::vector<std::thread> workers_;
  std::vector<Share> shares_;  // the caller's, then one for each worker
  size_t given_ = 0;           // of them in this job: at most one for each piece
  pid_t process_ = 0;          // that started them
  alignas(64) std::atomic<uint32_t> epoch_{0};
  std::atomic<int> sleepers_{0};
  std::atomic<bool> stopping_{false};
  std::atomic<bool> open_{false};
  alignas(64) std::atomic<int> inside_{0};
  detail::PieceFn fn_ = nullptr;
  void* context_ = nullptr;
  int64_t take_ = 1;  // pieces taken at once: at least eight turns a thread, so that uneven pieces even out
  std::mutex error_mutex_;
  std::exception_ptr error_;
};

Pool& pool() {
  static Pool instance;
  return instance;
}

}  // namespace

int num_threads() { return thread_count().load(std::memory_order_relaxed); }

void set_num_threads(int n) {
  WEFT_CHECK(n >= 1, "set_num_threads: the number must be at least 1; got {}", n);
  WEFT_CHECK(!tls_in_region, "set_num_threads: called inside a parallel region; call it outside");
  pool().resize(std::min(n, kMaxThreads));
}

bool in_parallel_region() { return tls_in_region; }

SerialGuard::SerialGuard() : before_(std::exchange(tls_in_region, true)) {}
SerialGuard::~SerialGuard() { tls_in_region = before_; }

bool detail::run_on_pool(int64_t pieces, PieceFn fn, void* context) {
  if (tls_in_region || num_threads() == 1) return false;
  return pool().run(pieces, fn, context);
}

}  // namespace weft
