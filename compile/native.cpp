// A thread that nobody waits for compiles, or takes from disk, one text after another.
#include "compile/native.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>
#include <unordered_map>
#include <utility>

#include "compile/toolchain.h"
#include "core/code_cache.h"

namespace weft::graph {
namespace {

// Another path to the same file each time: dlopen() takes a path that it knows for what it has loaded, and numbers of
// files come again.
std::string path_of(const File& file) {
  static std::atomic<uint64_t> times{0};
  std::string path = "/proc/self/fd/";
  for (uint64_t n = ++times; n; n >>= 1) path += n & 1 ? "./" : "/";
  return path + std::to_string(file.number());
}

// A child of fork() has one thread; what the others had locked stays so in it, also in the loader of the C library. Who
// holds this is not in the middle of anything when fork() runs.
std::mutex& fork_gate() {
  static std::mutex& gate = *[] {
    auto* m = new std::mutex;
    ::pthread_atfork([] { fork_gate().lock(); }, [] { fork_gate().unlock(); }, [] { fork_gate().unlock(); });
    return m;
  }();
  return gate;
}

class Unit final : public Native {
 public:
  explicit Unit(std::string text) : text_(std::move(text)) {}
  ~Unit() override {
    if (!handle_) return;
    const std::lock_guard lock(fork_gate());
    ::dlclose(handle_);
  }
  State state() const override { return state_.load(std::memory_order_acquire); }
  State wait() const override {
    state_.wait(State::building);
    return state();
  }
  void* symbol(const char* name) const override {
    const std::lock_guard lock(fork_gate());
    return ::dlsym(handle_, name);
  }
  std::string why() const override { return state() == State::failed ? why_ : ""; }

  const std::string& text() const { return text_; }
  bool load(const std::string& image, std::string& why) {
    const File file(memory_file());
    if (file.number() < 0 || !fill(file, image)) {
      why = std::string("no memory for code: ") + std::strerror(errno);
      return false;
    }
    const std::lock_guard lock(fork_gate());
    handle_ = ::dlopen(path_of(file).c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle_) return true;
    const char* words = ::dlerror();
    why = words ? words : "the code cannot be loaded";
    return false;
  }
  void publish() { finish(State::ready); }
  void fail(std::string why) {
    why_ = std::move(why);
    finish(State::failed);
  }

 private:
  void finish(State s) {
    state_.store(s, std::memory_order_release);
    state_.notify_all();
  }
  const std::string text_;
  std::atomic<State> state_{State::building};
  void* handle_ = nullptr;
  std::string why_;
};

class Builder {
 public:
  // Never destroyed: users' own static objects may still run compiled functions at exit.
  static Builder& instance() {
    static Builder* builder = nullptr;
    const std::lock_guard lock(fork_gate());
    if (!builder || builder->process_ != ::getpid()) builder = new Builder();  // threads do not come with fork()
    return *builder;
  }

  std::shared_ptr<const Native> add(std::string text) {
    std::lock_guard lock(mutex_);
    std::weak_ptr<Unit>& known = units_[text];
    if (std::shared_ptr<Unit> unit = known.lock()) return unit;
    auto unit = std::make_shared<Unit>(std::move(text));
    known = unit;
    if (stop_) {
      unit->fail("the program ends");
      return unit;
    }
    waiting_.push_back(unit);
    if (!thread_.joinable()) start();
    if (!thread_.joinable()) {
      waiting_.pop_back();
      unit->fail("no thread can be started");
    }
    changed_.notify_one();
    return unit;
  }

 private:
  void start() {
    // Here, where the program's own thread cannot change its environment at the same time.
    compiler_.emplace();
    cache_.emplace(detail::CodeCache::standard_folder());
    sigset_t all, before;
    ::sigfillset(&all);
    ::pthread_sigmask(SIG_SETMASK, &all, &before);  // signals are the program's own threads' business
    try {
      thread_ = std::thread([this] { work(); });
    } catch (const std::system_error&) {  // a limit on threads
    }
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
    if (!thread_.joinable()) return;
    static bool at_exit = false;
    if (!std::exchange(at_exit, true)) std::atexit([] { instance().end(); });
  }

  void end() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
      changed_.notify_one();
    }
    if (thread_.joinable()) thread_.join();
  }

  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return stop_ || !waiting_.empty(); });
      if (waiting_.empty()) return;
      const std::shared_ptr<Unit> unit = std::move(waiting_.front());
      waiting_.pop_front();
      const bool wanted = unit.use_count() > 1 && !stop_;
      if (!wanted) units_.erase(unit->text());
      lock.unlock();
      if (wanted)
        build(*unit);
      else
        unit->fail("nobody needs it any more");
      lock.lock();
      std::erase_if(units_, [](const auto& u) { return u.second.expired(); });
    }
  }

  void build(Unit& unit) {
    try {
      std::string why = compiler_->missing();
      if (why.empty()) {
        detail::CompiledKernel code;
        const std::string key = compiler_->key() + unit.text();
        bool done = cache_->find(key, code) && unit.load(code.image, why);
        if (!done && (done = compiler_->compile(unit.text(), stop_, code.image, why) && unit.load(code.image, why)))
          cache_->store(key, code);
        if (done) {
          unit.publish();
          return;
        }
      }
      if (!stop_) complain(why);
      unit.fail(stop_ ? "the program ends" : why);
    } catch (const std::exception& e) {
      unit.fail(e.what());
    }
  }

  void complain(const std::string& why) {
    if (std::exchange(complained_, true)) return;
    std::fprintf(stderr, "weft: compiled functions run without generated code: %s\n", why.c_str());
  }

  const pid_t process_ = ::getpid();
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Unit>> waiting_;
  std::unordered_map<std::string, std::weak_ptr<Unit>> units_;
  std::thread thread_;
  std::atomic<bool> stop_{false};
  // Of the thread.
  std::optional<Toolchain> compiler_;
  std::optional<detail::CodeCache> cache_;
  bool complained_ = false;
};

}  // namespace

std::shared_ptr<const Native> make_native(std::string text) { return Builder::instance().add(std::move(text)); }

}  // namespace weft::graph
