#pragma once
#include <vector>

#include "core/dispatch.h"
#include "core/thread_state.h"

// How the front ends of ops meet Autocast: a function whose record has a cast policy begins with
//
//   if (detail::casts(LinearOp::record)) [[unlikely]]
//     return detail::cast_call(LinearOp::record, linear, x, weight, bias);
namespace weft::detail {

/// Whether Autocast changes the inputs of this op now.
inline bool casts(const OpRecord& op) { return thread_state.autocast && op.cast != Cast::none; }

/// Autocast does nothing on this thread while alive: inside ops whose inputs were cast, and in backward.
class AutocastOff {
 public:
  AutocastOff() : before_(thread_state.autocast) { thread_state.autocast = false; }
  ~AutocastOff() { thread_state.autocast = before_; }
  AutocastOff(const AutocastOff&) = delete;
  AutocastOff& operator=(const AutocastOff&) = delete;

 private:
  bool before_;
};

/// The dtype that the inputs of ops with this policy are cast to (promote: if none of them is f32).
inline DType cast_dtype(Cast policy) { return policy == Cast::f32 ? DType::f32 : thread_state.autocast_dtype; }
/// Whether Autocast leaves t as it is: undefined, not floating, f64 or a number.
bool keeps_dtype(const Tensor& t);
/// t in dtype `to`, unless keeps_dtype(t); differentiable. Casts of leaves that require grad come from the guard's
/// cache. Implemented by autograd.
Tensor cast_input(const Tensor& t, DType to);

inline bool is_wide(const Tensor& t) { return !keeps_dtype(t) && t.dtype() != thread_state.autocast_dtype; }
inline bool is_wide(const std::vector<Tensor>& all) {
  for (const Tensor& t : all)
    if (is_wide(t)) return true;
  return false;
}
template <class T>
bool is_wide(const T&) {
  return false;
}

inline Tensor cast_argument(const Tensor& t, DType to) { return cast_input(t, to); }
inline std::vector<Tensor> cast_argument(std::vector<Tensor> all, DType to) {
  for (Tensor& t : all) t = cast_input(t, to);
  return all;
}
template <class T>
const T& cast_argument(const T& other, DType) {
  return other;
}

/// f(args...) with all Tensors among `args`, and in lists, cast as op.cast says. Autocast is off inside.
template <class F, class... Args>
auto cast_call(const OpRecord& op, F f, const Args&... args) {
  DType to = cast_dtype(op.cast);
  if (op.cast == Cast::promote && (is_wide(args) || ...)) to = DType::f32;
  const AutocastOff off;
  return f(cast_argument(args, to)...);
}

}  // namespace weft::detail
