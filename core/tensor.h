#pragma once
#include <concepts>
#include <functional>
#include <initializer_list>
#include <iosfwd>
#include <new>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "core/device.h"
#include "core/dims.h"
#include "core/dtype.h"
#include "core/scalar.h"
#include "core/tensor_impl.h"
#include "core/thread_state.h"

namespace weft {

class Generator;
class Tensor;
class TensorIndex;

namespace detail {
void settle(Storage* storage, bool keeps);  // core/deferral.h
[[noreturn]] void fail_not_on_host(const Tensor& t);
}  // namespace detail

enum class MemoryFormat : uint8_t { contiguous, channels_last, channels_last_3d, preserve };

/// dtype, device and requires_grad of a new tensor: `zeros({2, 3}, {.dtype = DType::f64})`.
struct TensorOptions {
  std::optional<DType> dtype = {};    ///< default: default_dtype(), or what the values say
  std::optional<Device> device = {};  ///< default: default_device()
  bool requires_grad = false;
};

/// The dimensions of a reduction: none given = all. Converts from an int and from `{0, 1}`.
struct DimList {
  bool all = true;
  Dims dims;
  DimList() = default;
  template <std::integral T>
  DimList(T dim) : all(false), dims{static_cast<int64_t>(dim)} {}
  DimList(std::initializer_list<int64_t> d) : all(false), dims(d) {}
  DimList(const Dims& d) : all(false), dims(d) {}
};
struct ReduceOptions {
  DimList dim = {};
  bool keepdim = false;
  std::optional<DType> dtype = {};
};
struct VarOptions {
  DimList dim = {};
  double correction = 1;
  bool keepdim = false;
};
struct BackwardOptions {
  bool retain_graph = false;
  bool create_graph = false;
};

namespace detail {
/// weft::Error: something is asked of an undefined Tensor.
[[noreturn]] void no_tensor();
/// What a Tensor points to, asked for with a check.
class TensorPointer {
 public:
  constexpr TensorPointer(TensorImpl* p = nullptr) noexcept : p_(p) {}
  constexpr operator TensorImpl*() const noexcept { return p_; }
  TensorImpl* operator->() const {
    if (!p_) [[unlikely]]
      no_tensor();
    return p_;
  }

 private:
  TensorImpl* p_;
};
}  // namespace detail

/// A strided n-dimensional array; a handle, cheap to copy. PyTorch's torch.Tensor. Whatever is asked of an undefined
/// one (default-constructed, or an absent gradient) is a weft::Error.
class Tensor {
 public:
  Tensor() = default;
  Tensor(const Tensor& o) : impl_(o.impl_) {
    if (impl_) impl_->retain();
  }
  Tensor(Tensor&& o) noexcept : impl_(std::exchange(o.impl_, nullptr)) {}
  Tensor& operator=(const Tensor& o) {
    Tensor copy(o);
    std::swap(impl_, copy.impl_);
    return *this;
  }
  Tensor& operator=(Tensor&& o) noexcept {
    std::swap(impl_, o.impl_);
    return *this;
  }
  ~Tensor() { TensorImpl::release(impl_); }
  /// A 0-dim tensor of a number, weak in type promotion: what `x * 2.0` makes of 2.0.
  static Tensor wrap(Scalar value);

  // ---- what it is
  bool defined() const { return impl_ != nullptr; }
  explicit operator bool() const = delete;
  const Dims& sizes() const { return impl_->sizes; }
  const Dims& shape() const { return impl_->sizes; }
  const Dims& strides() const { return impl_->strides; }
  int64_t size(int64_t dim) const;
  int64_t stride(int64_t dim) const;
  int dim() const { return impl_->sizes.size(); }
  int64_t numel() const { return impl_->numel; }
  DType dtype() const { return impl_->dtype; }
  Device device() const { return impl_->device; }
  int64_t storage_offset() const { return impl_->offset; }
  bool is_contiguous(MemoryFormat format = MemoryFormat::contiguous) const;
  bool is_floating_point() const { return is_floating(impl_->dtype); }
  size_t nbytes() const { return static_cast<size_t>(numel()) * itemsize(dtype()); }
  /// Address of the first element. Inside a compiled function this runs what was put off so far.
  void* data_ptr() const {
    if (detail::thread_state.deferral) [[unlikely]]
      detail::settle(impl_->storage, true);
    return impl_->data;
  }
  /// Typed address; weft::Error when T does not have the tensor's itemsize and kind, or the tensor is on a device.
  template <class T>
  T* data() const {
    check_data_type(kind_of<T>(), sizeof(T));
    return static_cast<T*>(data_ptr());
  }
  /// The value of a one-element tensor.
  Scalar item() const;
  template <class T>
  T item() const {
    return item().to<T>();
  }
  bool is_same(const Tensor& o) const { return impl_ == o.impl_; }
  bool shares_storage_with(const Tensor& o) const { return impl_->storage == o.impl_->storage; }
  int64_t use_count() const { return impl_ ? impl_->refs.value() : 0; }
  /// As PyTorch prints it.
  std::string str() const;

  // ---- autograd
  bool requires_grad() const;
  Tensor& set_requires_grad(bool on);
  bool is_leaf() const;
  /// Undefined when there is none.
  Tensor grad() const;
  void set_grad(const Tensor& g);
  /// Gradient of a one-element tensor by all leaves, added to their grad().
  void backward() const { backward(Tensor()); }
  /// `gradient`: of the same shape. Options as in PyTorch.
  void backward(const Tensor& gradient, BackwardOptions options = {}) const;
  /// The same values without history; shares memory.
  Tensor detach() const;
  Tensor& detach_();
  /// Keeps .grad of a non-leaf.
  void retain_grad() const;
  /// Called with the gradient when it is known; what it returns (if defined) replaces it. Returns an id for
  /// remove_hook.
  int64_t register_hook(std::function<Tensor(const Tensor&)> hook) const;
  /// Leaves: called after .grad has been updated.
  int64_t register_post_accumulate_grad_hook(std::function<void(const Tensor&)> hook) const;
  void remove_hook(int64_t id) const;
  /// Number of in-place changes of the memory; shared with views.
  uint32_t version() const { return impl_->storage->version.load(std::memory_order_relaxed); }
  /// Name of the op that made it ("leaf" for leaves).
  std::string grad_fn_name() const;

#include "core/tensor_methods.inc"

  TensorImpl* impl() const { return impl_; }
  /// Takes over one reference.
  static Tensor from_impl(TensorImpl* p) {
    Tensor t;
    t.impl_ = p;
    return t;
  }
  TensorImpl* release_impl() { return std::exchange(impl_, nullptr); }

 private:
  template <class T>
  static constexpr int kind_of() {
    return std::is_same_v<T, bool> ? 0 : std::is_floating_point_v<T> ? 2 : std::is_integral_v<T> ? 1 : 3;
  }
  void check_data_type(int kind, size_t bytes) const;

  detail::TensorPointer impl_;
};

std::ostream& operator<<(std::ostream& out, const Tensor& t);

namespace detail {
/// An array of handles that do not count as owners: an op's arguments as one list, without touching their reference
/// counts. Good while the tensors it was made of live.
template <int N>
class Borrowed {
 public:
  Borrowed() {
    for (Tensor& t : items_) new (&t) Tensor;
  }
  template <class... T>
  explicit Borrowed(const T&... t) requires(sizeof...(T) == N && (std::same_as<T, Tensor> && ...)) {
    int i = 0;
    (new (&items_[i++]) Tensor(Tensor::from_impl(t.impl())), ...);
  }
  ~Borrowed() {}
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;
  void set(int i, const Tensor& t) { new (&items_[i]) Tensor(Tensor::from_impl(t.impl())); }
  operator const Tensor*() const { return items_; }

 private:
  union {
    Tensor items_[N];
  };
};
template <class... T>
Borrowed(const T&...) -> Borrowed<sizeof...(T)>;
}  // namespace detail

// ---- creation (torch.empty, torch.zeros, ...). Errors: negative sizes, more than 2^63 elements, out of memory.
Tensor empty(const Dims& sizes, const TensorOptions& o = {});
Tensor empty_strided(const Dims& sizes, const Dims& strides, const TensorOptions& o = {});
Tensor zeros(const Dims& sizes, const TensorOptions& o = {});
Tensor ones(const Dims& sizes, const TensorOptions& o = {});
/// Without o.dtype: bool, i64 or default_dtype() by the kind of `value`.
Tensor full(const Dims& sizes, Scalar value, const TensorOptions& o = {});
/// A 0-dim tensor of default_dtype() (torch.scalar_tensor).
Tensor scalar_tensor(Scalar value, const TensorOptions& o = {});
/// dtype, device and dense layout of `like` unless `dtype` says otherwise.
Tensor empty_like(const Tensor& like, std::optional<DType> dtype = {}, MemoryFormat format = MemoryFormat::preserve);
Tensor zeros_like(const Tensor& like, std::optional<DType> dtype = {});
Tensor ones_like(const Tensor& like, std::optional<DType> dtype = {});
Tensor full_like(const Tensor& like, Scalar value, std::optional<DType> dtype = {});
/// [start, end) in steps; i64 when all three are integers.
Tensor arange(Scalar start, Scalar end, Scalar step = 1, const TensorOptions& o = {});
Tensor arange(Scalar end);
/// `steps` values from start to end, both included.
Tensor linspace(Scalar start, Scalar end, int64_t steps, const TensorOptions& o = {});
Tensor eye(int64_t n, std::optional<int64_t> m = {}, const TensorOptions& o = {});
/// A 1-dim (or `sizes`-shaped) copy of values: f32/f64 from floats, i64 from integers, bool from bools.
Tensor tensor(const std::vector<double>& values, const TensorOptions& o = {});
Tensor tensor(const std::vector<float>& values, const TensorOptions& o = {});
Tensor tensor(const std::vector<int64_t>& values, const TensorOptions& o = {});
Tensor tensor(std::initializer_list<double> values, const TensorOptions& o = {});
/// Uses foreign memory of contiguous `sizes` without copying; `deleter` runs when the last tensor over it is gone.
Tensor from_blob(void* data, const Dims& sizes, const TensorOptions& o = {}, std::function<void()> deleter = {});
Tensor from_blob(void* data, const Dims& sizes, const Dims& strides, const TensorOptions& o = {},
                 std::function<void()> deleter = {});

/// torch.result_type: the dtype an arithmetic op on these would have.
DType result_type(const Tensor& a, const Tensor& b);

namespace detail {
inline Device device_of(const TensorOptions& o) { return o.device.value_or(default_device()); }
/// A new tensor over fresh memory; the strides must be dense.
Tensor allocate(const Dims& sizes, const Dims& strides, DType dtype, Device device);
inline Tensor allocate(const Dims& sizes, DType dtype, Device device) {
  return allocate(sizes, contiguous_strides(sizes), dtype, device);
}
/// data<T>() without its check, for an address that is used at once and forgotten: an op may put itself off until then.
template <class T>
T* host_data(const Tensor& t) {
  if (!t.device().is_cpu()) [[unlikely]]
    fail_not_on_host(t);
  if (thread_state.deferral) [[unlikely]]
    settle(t.impl()->storage, false);
  return static_cast<T*>(t.impl()->data);
}
/// Another handle on the same memory, no autograd history.
Tensor alias(const Tensor& t, const Dims& sizes, const Dims& strides, int64_t offset);
inline Tensor alias(const Tensor& t) { return alias(t, t.sizes(), t.strides(), t.storage_offset()); }
/// True when every element has an address of its own and no gap lies between (any order of dimensions).
bool is_dense(const Dims& sizes, const Dims& strides);
/// True when two elements share an address (expanded tensors).
bool overlaps_itself(const Dims& sizes, const Dims& strides);
}  // namespace detail

}  // namespace weft
