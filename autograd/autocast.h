#pragma once
#include "core/device.h"
#include "core/thread_state.h"

namespace weft {

struct AutocastOptions {
  bool enabled = true;  ///< false: inside, ops take what they get even if an outer guard casts
  bool cache = true;    ///< a parameter is cast once until the outermost guard ends, or until it changes
};

/// Mixed precision (torch.autocast): while alive, matrix products, convolutions, attention and recurrent layers called
/// by this thread run in `dtype` (bf16 or f16), and losses and other ops that need the range or the precision run in
/// f32: their inputs are cast. Which op does what is the `cast` of its record: PyTorch's lists for the CPU. Parameters
/// stay f32 and get f32 gradients.
///
///   {
///     Autocast guard("cpu", DType::bf16);
///     loss = cross_entropy(model(x), y);
///   }
///   loss.backward();     // each gradient in the dtype of its forward op; inside the guard too
///
/// In-place ops and out= are never cast. bf16 has the range of f32 and needs no optim::GradScaler; f16 does.
class Autocast {
 public:
  explicit Autocast(Device device, DType dtype = DType::bf16, AutocastOptions o = {});
  ~Autocast();
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  bool enabled_before_, cache_before_;
  DType dtype_before_;
  DeviceType device_before_;
};

inline bool is_autocast_enabled() { return detail::thread_state.autocast; }
/// What the innermost guard of this thread casts to.
inline DType get_autocast_dtype() { return detail::thread_state.autocast_dtype; }

namespace detail {
/// What decides over casts of this thread, to have it again with `Autocast(device, dtype, {.enabled, .cache})`.
struct AutocastState {
  DeviceType device;
  DType dtype;
  bool enabled, cache;
};
AutocastState autocast_state();
/// The dtype of this thread's last enabled guard since the last such question; f32 when there was none.
DType take_last_autocast_dtype();
}  // namespace detail

}  // namespace weft
