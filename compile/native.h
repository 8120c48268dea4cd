#pragma once
#include <memory>
#include <string>

// Machine code from generated C++: from the cache on disk, or by the system's compiler in the background.
namespace weft::graph {

/// One translation unit. Its code stays loaded as long as an owner lives.
class Native {
 public:
  enum class State : unsigned char { building, ready, failed };
  virtual ~Native() = default;
  /// Costs one load.
  virtual State state() const = 0;
  /// Returns when it is no longer being built.
  virtual State wait() const = 0;
  /// The address of an extern "C" function; null if there is none. State must be `ready`.
  virtual void* symbol(const char* name) const = 0;
  /// Of a failed one.
  virtual std::string why() const = 0;
};

/// Starts to make machine code of `text`: C++ that includes nothing, with the same rules for floats as weft's own
/// kernels (-ffp-contract=off, no -ffast-math), for the CPU that runs this. Never throws for what the system lacks.
std::shared_ptr<const Native> make_native(std::string text);

}  // namespace weft::graph
