#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "core/allocator.h"
#include "core/device.h"
#include "core/tensor.h"

// NVIDIA devices, as torch.cuda. Everything here may be called on a machine without one: is_available() says so, and
// what needs a device is a weft::Error that tells what is missing.
namespace weft::cuda {

bool is_available();
/// Why is_available() is false: a build without CUDA, no driver, no device, a driver below 12.4. Empty otherwise.
const std::string& why_unavailable();
int device_count();

struct DeviceProperties {
  std::string name;
  int major = 0, minor = 0;  ///< compute capability
  int multiprocessors = 0;
  int64_t total_memory = 0, l2_cache = 0;  ///< bytes
  bool emulated = false;                   ///< the host emulation of a build with WEFT_CUDA=emulate
};
DeviceProperties device_properties(int device = 0);

/// Device that "cuda" without a number stands for on this thread, and whose stream is current.
int current_device();
void set_device(int device);
/// Waits for all work of the device (-1: the current one) and reports what went wrong in it.
void synchronize(int device = -1);

/// A handle of a queue of device work; kernels run in the order in which they were put in. The default one is the
/// legacy default stream of the device.
class Stream {
 public:
  /// The default stream of the current device.
  Stream() = default;
  /// A new stream, of the current device (-1) or another; high priority runs first.
  static Stream create(int device = -1, bool high_priority = false);
  static Stream current(int device = -1);
  /// The cudaStream_t.
  void* handle() const;
  int device() const { return device_; }
  void synchronize() const;
  /// All work put in so far is done.
  bool query() const;
  /// Work put in later waits for what `other` holds now.
  void wait(const Stream& other) const;
  friend bool operator==(const Stream&, const Stream&) = default;

 private:
  friend class StreamGuard;
  std::shared_ptr<void> owner_;
  int device_ = 0;
};

/// While alive, work of this thread goes to `stream`, and its device is current.
class StreamGuard {
 public:
  explicit StreamGuard(const Stream& stream);
  ~StreamGuard();
  StreamGuard(const StreamGuard&) = delete;
  StreamGuard& operator=(const StreamGuard&) = delete;

 private:
  Stream stream_, before_;
  int device_before_;
};

/// While alive, `device` is current.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device);
  ~DeviceGuard();
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int before_;
};

/// A point in a stream.
class Event {
 public:
  /// `timing`: elapsed_ms() works.
  explicit Event(bool timing = true);
  void record(const Stream& stream = Stream::current());
  /// Work put into `stream` later waits for this point.
  void wait(const Stream& stream = Stream::current()) const;
  void synchronize() const;
  bool query() const;
  /// Milliseconds from this event to `end`; both have happened.
  double elapsed_ms(const Event& end) const;

 private:
  std::shared_ptr<void> owner_;
};

/// Counters of the device's caching allocator.
MemoryStats memory_stats(int device = -1);
void reset_peak_memory_stats(int device = -1);
/// Returns the cached free blocks of all devices to the driver.
void empty_cache();
/// t's memory is in use on `stream` too: it is not handed out again before what that stream holds when t dies is done.
void record_stream(const Tensor& t, const Stream& stream);

/// Whether f32 matrix products may round their operands to TF32 (10 bits of mantissa), several times as fast on tensor
/// cores; sums stay in f32. Off at first. Of the whole process.
void set_allow_tf32(bool allow);
bool allow_tf32();
/// Name, version and path of the library of matrix products, or what is missing.
std::string blas_library();

}  // namespace weft::cuda
