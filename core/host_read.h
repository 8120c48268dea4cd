#pragma once

namespace weft::detail {

/// While it lives, reads of values on this thread are part of what an op is: a size or a number that depends on them.
/// Where kernels wait (core/deferral.h) such a read still cuts a call in parts; reports give this reason.
class HostRead {
 public:
  /// `why` stays for ever: "nonzero: the number of results depends on values".
  explicit HostRead(const char* why) : before_(why_) { why_ = why; }
  ~HostRead() { why_ = before_; }
  HostRead(const HostRead&) = delete;
  HostRead& operator=(const HostRead&) = delete;
  /// Null: nobody has said.
  static const char* why() { return why_; }

 private:
  const char* before_;
  static constinit thread_local const char* why_;
};

}  // namespace weft::detail
