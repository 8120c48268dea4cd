#pragma once
#include <atomic>
#include <cstdint>
#include <string_view>

namespace weft {

class Tensor;
struct Storage;

// The hook through which profiler/ sees what runs. Core owns it and calls it; while no profiler runs it is a null
// pointer, and reading that is all it costs.
namespace detail {

enum class ProfileKind : uint8_t { op, inplace_op, view, backward, module, range };

/// What begins. Names are copied.
struct ProfileCall {
  ProfileKind kind;
  std::string_view name;
  const Tensor* in = nullptr;
  int n_in = 0;
  const Tensor* out = nullptr;  ///< allocated by the op's front end, just before
  int n_out = 0;
  uint64_t sequence = 0;         ///< of a tape node (backward)
  std::string_view module = {};  ///< path (module); others lie in the module that runs
};

/// Called by any thread. Entries are all defined; the table itself is never freed.
struct ProfileHooks {
  uint64_t (*session)();                  ///< changes with every recording
  uint64_t (*begin)(const ProfileCall&);  ///< a token for end(); 0: nothing to end
  void (*end)(uint64_t token);            ///< ends what began later on this thread too
  void (*node)(uint64_t sequence);        ///< the running op made this tape node
  void (*allocated)(const Storage* owned);
  void (*freed)(const Storage* owned);
};
inline constinit std::atomic<const ProfileHooks*> profile_hooks{nullptr};

inline bool profiling() { return profile_hooks.load(std::memory_order_relaxed) != nullptr; }

/// What runs while it lives is a part of `call`.
class ProfileScope {
 public:
  explicit ProfileScope(const ProfileCall& call) {
    if (const ProfileHooks* hooks = profile_hooks.load(std::memory_order_acquire)) token_ = hooks->begin(call);
  }
  ~ProfileScope() {
    if (!token_) return;
    if (const ProfileHooks* hooks = profile_hooks.load(std::memory_order_acquire)) hooks->end(token_);
  }
  ProfileScope(const ProfileScope&) = delete;
  ProfileScope& operator=(const ProfileScope&) = delete;

 private:
  uint64_t token_ = 0;
};

}  // namespace detail
}  // namespace weft
