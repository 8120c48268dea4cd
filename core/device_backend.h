#pragma once
#include <cstddef>
#include <string>

#include "core/cuda.h"
#include "core/custom_source.h"
#include "core/deferral.h"
#include "core/dispatch.h"

// How core reaches a device: one table, filled by kernels/cuda where a build has it.
namespace weft::detail {

struct DeviceBackend {
  int devices;
  bool emulated;
  void (*properties)(int device, cuda::DeviceProperties& out);
  /// A line per library of kernels (cuBLASLt, cuDNN): its version, or why it is not used.
  std::string (*libraries)();

  int (*current_device)();
  void (*set_device)(int device);
  void (*synchronize)(int device);
  /// Before a kernel of `op`: throws what a kernel reported since the last call. Cheap: reads one word of host memory.
  void (*begin)(const char* op);
  /// Kernels launched and library calls made by this thread so far.
  uint64_t (*launches)();

  /// Memory for work of the current stream. Throws when there is none.
  void* (*allocate)(size_t bytes, int device);
  void (*free)(void* p, size_t bytes, int device) noexcept;
  void* (*allocate_pinned)(size_t bytes);
  void (*free_pinned)(void* p, size_t bytes) noexcept;
  bool (*is_pinned)(const void* p);
  void (*memory_stats)(int device, MemoryStats& out);
  void (*reset_peak)(int device);
  void (*empty_cache)();
  void (*record_stream)(void* p, void* stream);

  /// Copies on the current stream of the device; `wait`: returns when `to` holds the bytes.
  void (*copy)(void* to, Device to_device, const void* from, Device from_device, size_t bytes, bool wait);

  void* (*stream_create)(int device, bool high_priority);
  void (*stream_destroy)(void* stream, int device) noexcept;
  void* (*stream_current)(int device);
  void (*stream_set)(void* stream, int device);
  void (*stream_synchronize)(void* stream, int device);
  bool (*stream_query)(void* stream, int device);
  void* (*event_create)(int device, bool timing);
  void (*event_destroy)(void* event) noexcept;
  void (*event_record)(void* event, void* stream, int device);
  void (*event_wait)(void* event, void* stream, int device);
  void (*event_synchronize)(void* event);
  bool (*event_query)(void* event);
  double (*event_elapsed)(void* from, void* to);

  /// The kernel of a user's own op, made of its text.
  void (*custom)(const PointwiseCall& call, const CustomOpSource& source);
};

/// The table, made at the first call; null where there is no device to use.
const DeviceBackend* cuda_backend();
/// Why it is null; empty where it is not.
const std::string& cuda_missing();
/// The same, or a weft::Error: "tensor on cuda:0: ...".
const DeviceBackend& need_cuda(Device device, const char* what);

/// The op whose kernel this thread runs, for errors and out-of-memory texts.
extern constinit thread_local const char* running_op;

/// Runs c.op.cuda with the device of the call current. Throws when the op has no kernel for devices.
void run_on_device(const OpCall& c, Device device);
void run_on_device(const PointwiseCall& c, Device device);

/// Implemented by kernels/cuda: fills the table and the `cuda` kernels of all records. Null, with the reason in `why`.
const DeviceBackend* load_cuda_backend(std::string& why);

}  // namespace weft::detail
