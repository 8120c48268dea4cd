#pragma once
#include <cstddef>
#include <memory>
#include <new>
#include <vector>

namespace weft::cpu {

/// One weight in the layout that one kernel call reads, kept from call to call by who runs that call again and again,
/// and knows when the weight has changed (compile/replay.h).
class PackedWeight {
 public:
  /// Memory, 64-byte aligned, for `bytes` that the kernel makes of what lies at `from`; `fresh`: it has to fill it.
  void* get(const void* from, size_t bytes, bool& fresh) {
    fresh = false;
    for (const Part& p : parts_)
      if (p.from == from && p.bytes == bytes) return p.memory.get();
    fresh = true;
    parts_.push_back({from, bytes, std::unique_ptr<void, Free>(::operator new (bytes, std::align_val_t{64}))});
    return parts_.back().memory.get();
  }
  /// The weight has changed, or the kernel has not filled what it got.
  void clear() { parts_.clear(); }

 private:
  struct Free {
    void operator()(void* p) const { ::operator delete (p, std::align_val_t{64}); }
  };
  struct Part {
    const void* from;
    size_t bytes;
    std::unique_ptr<void, Free> memory;
  };
  std::vector<Part> parts_;
};

namespace detail {
inline constinit thread_local PackedWeight* packed_weight = nullptr;
}
/// Where the kernel that begins now may keep its weight, or null. Only linear and convolution ask, as they begin.
inline PackedWeight* packed_weight() { return detail::packed_weight; }

/// Offers `weight` to the kernel called while alive.
class OfferPackedWeight {
 public:
  explicit OfferPackedWeight(PackedWeight& weight) { detail::packed_weight = &weight; }
  ~OfferPackedWeight() { detail::packed_weight = nullptr; }
  OfferPackedWeight(const OfferPackedWeight&) = delete;
  OfferPackedWeight& operator=(const OfferPackedWeight&) = delete;
};

}  // namespace weft::cpu
