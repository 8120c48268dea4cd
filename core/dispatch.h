#pragma once
#include <cstddef>
#include <span>
#include <type_traits>

#include "core/ops/cast.h"
#include "core/tensor.h"

// The one path of every structured op: a front-end function checks its arguments, infers shapes and dtypes, allocates
// the outputs and calls dispatch(); kernels fill the outputs; autograd records what the record says.
//
//   // core/ops/softmax.h
//   struct SoftmaxOp {
//     struct Attrs { int dim; };                                 // trivially copyable
//     static const OpRecord record;                              // defined in core/ops/softmax.cpp
//   };
//   // core/ops/softmax.cpp
//   const OpRecord SoftmaxOp::record{.name = "softmax", .save_outputs = 1, .cpu = cpu::softmax, .rule =
//   rules::softmax};
//   // kernels/cpu/softmax.cpp      namespace weft::cpu   { void softmax(const OpCall& c) {...} }
//   // autograd/rules/softmax.cpp   namespace weft::rules { void softmax(Node& n, const Tensor* g, Tensor* gin) {...} }
//
// Kernels and rules are declared beside the record and bound by the linker, so that nothing can be forgotten.
namespace weft {

struct OpRecord;

/// What a kernel gets: inputs and allocated outputs, all on one device (but for OpRecord::host_inputs).
struct OpCall {
  const OpRecord& op;
  const Tensor* in;
  int n_in;
  Tensor* out;
  int n_out;
  const void* attrs;
  template <class A>
  const A& as() const {
    return *static_cast<const A*>(attrs);
  }
};

using Kernel = void (*)(const OpCall&);
/// Fills gin[i] for the inputs with node.needs(i), from the gradients g of the outputs (undefined: zero). Written in
/// public ops, so that its own gradient comes free. Shapes that broadcast and dtypes that differ are reduced and cast
/// afterwards.
using Rule = void (*)(Node& node, const Tensor* g, Tensor* gin);

/// Everything the engine knows of a structured op. One per op, constant.
struct OpRecord {
  const char* name;
  unsigned save_inputs = 0;   ///< bit i: the rule reads input i
  unsigned save_outputs = 0;  ///< bit i: the rule reads output i
  Kernel cpu = nullptr;
  mutable Kernel cuda = nullptr;    ///< set when the backend is loaded (core/device_backend.h)
  Rule rule = nullptr;              ///< null: not differentiable
  unsigned non_differentiable = 0;  ///< bit i: output i never carries a gradient (indices, masks)
  bool crosses = false;             ///< input and output may be on different devices
  unsigned host_inputs = 0;         ///< bit i: the host reads input i, which lies there whatever the device
  Cast cast = Cast::none;           ///< what Autocast does with the inputs; the front end asks (core/autocast.h)
};

namespace detail {

bool needs_grad(const Tensor* in, int n_in);  // grad mode on and one input requires grad

/// Runs the kernel, then records a tape node when gradients are wanted. Where the bytes of `attrs` are those of a
/// struct, the templates below are to be used: a recording compares all of them.
void dispatch(const OpRecord& op, const Tensor* in, int n_in, Tensor* out, int n_out, const void* attrs,
              size_t attrs_bytes);
/// The kernel changes in[0] in place; version and history follow PyTorch's rules. `attrs` as above.
void dispatch_inplace(const OpRecord& op, Tensor& self, const Tensor* in, int n_in, const void* attrs,
                      size_t attrs_bytes);
/// A view of `self`: same memory, given geometry; differentiable through op.rule.
Tensor dispatch_view(const OpRecord& op, const Tensor& self, const Dims& sizes, const Dims& strides, int64_t offset,
                     const void* attrs, size_t attrs_bytes);
/// A node counts its outputs in 16 bits.
inline constexpr int kMostParts = 1 << 15;
/// Makes `parts` (at most kMostParts), aliases of parts of self, views with one history together
/// (ViewKind::one_of_many).
void dispatch_views(const OpRecord& op, const Tensor& self, Tensor* parts, int n, const void* attrs,
                    size_t attrs_bytes);
/// The device of the defined inputs (without any: of the outputs). Throws unless they are on one.
Device check_same_device(const OpRecord& op, const Tensor* in, int n_in, const Tensor* out, int n_out);

// Implemented by autograd.
Node* make_node(const OpRecord& op, const Tensor* in, int n_in, const Tensor* out, int n_out, const void* attrs,
                size_t attrs_bytes);
void set_history(Tensor& out, Node* node, uint32_t nr);
void adopt_history(Tensor& out, Node* node, uint32_t nr);  // set_history that takes the caller's reference to node
void check_inplace(const Tensor& self, const char* op);
void rebase_history(Tensor& self, Node* node);
void release_node(Node* node) noexcept;
void destroy_meta(TensorImpl* owner) noexcept;

}  // namespace detail

namespace detail {
/// Runs `f` with `attrs`; where kernels wait, and are compared with those of other calls, with a copy whose bytes
/// between members are zero.
template <class A, class F>
decltype(auto) with_attrs(const A& attrs, F&& f) {
  static_assert(std::is_trivially_copyable_v<A>);
  if constexpr (std::is_empty_v<A>) {
    static constinit A none{};  // zero, as statics are
    return f(&none);
  }
#if __has_builtin(__builtin_clear_padding)
  if constexpr (!std::has_unique_object_representations_v<A>)
    if (thread_state.deferral) [[unlikely]] {
      A copy = attrs;
      __builtin_clear_padding(&copy);
      return f(&copy);
    }
#endif
  return f(&attrs);
}
}  // namespace detail

/// dispatch() for lists of any length.
template <class A>
void dispatch(const OpRecord& op, std::span<const Tensor> in, std::span<Tensor> out, const A& attrs) {
  detail::with_attrs(attrs, [&](const A* a) {
    detail::dispatch(op, in.data(), static_cast<int>(in.size()), out.data(), static_cast<int>(out.size()), a,
                     sizeof *a);
  });
}
/// The same for a fixed list of inputs; undefined Tensors stand for absent optional inputs.
template <size_t N, class A>
void dispatch(const OpRecord& op, const Tensor (&in)[N], Tensor& out, const A& attrs) {
  dispatch(op, std::span<const Tensor>(in), std::span(&out, 1), attrs);
}
template <size_t N, size_t M, class A>
void dispatch(const OpRecord& op, const Tensor (&in)[N], Tensor (&out)[M], const A& attrs) {
  dispatch(op, std::span<const Tensor>(in), std::span<Tensor>(out), attrs);
}
template <size_t N, class A>
void dispatch_inplace(const OpRecord& op, Tensor& self, const Tensor (&in)[N], const A& attrs) {
  detail::with_attrs(attrs,
                     [&](const A* a) { detail::dispatch_inplace(op, self, in, static_cast<int>(N), a, sizeof attrs); });
}
template <class A>
Tensor dispatch_view(const OpRecord& op, const Tensor& self, const Dims& sizes, const Dims& strides, int64_t offset,
                     const A& attrs) {
  static_assert(std::is_trivially_copyable_v<A>);
  return detail::dispatch_view(op, self, sizes, strides, offset, &attrs, sizeof attrs);
}
struct NoAttrs {};

}  // namespace weft
