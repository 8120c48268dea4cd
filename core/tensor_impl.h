#pragma once
#include <atomic>
#include <cstdint>

#include "core/dims.h"
#include "core/dtype.h"
#include "core/ref_count.h"
#include "core/storage.h"

namespace weft {

struct Node;          // autograd/node.h
struct AutogradMeta;  // autograd/meta.h: .grad, hooks, gradient accumulator

/// How a view came about; the last two may not be changed in place where gradients are recorded.
enum class ViewKind : uint8_t { plain, no_grad, one_of_many };

/// What a Tensor points to. `data`, `numel` and `contiguous` are derived from the other fields and kept in step by
/// set_geometry().
struct TensorImpl {
  RefCount refs;
  DType dtype = DType::f32;
  Device device;
  bool requires_grad = false;  ///< leaves: set by the user; others: grad_fn != null
  bool contiguous = true;
  bool wrapped_number = false;  ///< made from a C++ number: weakest in type promotion
  bool inference = false;       ///< made under InferenceMode
  ViewKind view_kind = ViewKind::plain;
  uint32_t output_nr = 0;     ///< which output of grad_fn
  uint32_t view_version = 0;  ///< views: storage version for which grad_fn holds
  void* data = nullptr;
  int64_t numel = 0;
  int64_t offset = 0;  ///< in elements
  Dims sizes;
  Dims strides;
  Storage* storage = nullptr;
  Node* grad_fn = nullptr;
  TensorImpl* base = nullptr;  ///< differentiable views: the tensor that owns the memory
  AutogradMeta* meta = nullptr;

  void set_geometry(const Dims& new_sizes, const Dims& new_strides, int64_t new_offset);
  void retain() { refs.add(); }
  static void release(TensorImpl* p) noexcept {
    if (p && p->refs.drop_last()) destroy(p);
  }
  static TensorImpl* create();
  static void destroy(TensorImpl* p) noexcept;
};

bool is_contiguous(const Dims& sizes, const Dims& strides);

}  // namespace weft
