#pragma once
#include <atomic>
#include <cstddef>

// Blocks that cost nothing until they are touched: for tensors that a compiled function makes and drops before any of
// its kernels run. A block that turns out to be needed is memory as any other.
namespace weft::detail {

class AddressArena {
 public:
  /// From here on blocks may come from an arena; cpu_free looks no further below.
  static constexpr size_t kLeast = size_t{64} << 10;

  /// An arena for one user; null: the system gives no more addresses (ulimit -v), or too many arenas are in use.
  static AddressArena* take() noexcept;
  /// The user needs no more blocks. Those not given back keep the arena from others.
  void leave() noexcept;

  /// 64-byte aligned addresses; null: there are no more until all blocks have been given back.
  void* allocate(size_t bytes) noexcept;
  /// `block` was not needed.
  void drop() noexcept { release(); }
  /// `block`, of `bytes`, is needed: from now on it counts as memory in use, and cpu_free takes it.
  static void keep(size_t bytes) noexcept;
  /// For cpu_free: whether `block` was one of an arena's; then its memory is the system's again.
  static bool give_back(void* block, size_t bytes) noexcept;

 private:
  AddressArena(char* base, size_t size) : base_(base), size_(size) {}
  void release() noexcept;

  char* const base_;
  const size_t size_;
  size_t used_ = 0, used_before_ = 0;  // of the one user
  std::atomic<int64_t> holders_{0};    // the user and the blocks
  std::atomic<bool> taken_{false};
};

}  // namespace weft::detail
