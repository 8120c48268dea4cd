#include "core/tensor.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <numeric>

#include "core/dispatch.h"
#include "core/error.h"
#include "core/thread_state.h"

namespace weft {
namespace detail {

Tensor allocate(const Dims& sizes, const Dims& strides, DType dtype, Device device) {
  TensorImpl* p = TensorImpl::create();
  Tensor t = Tensor::from_impl(p);
  p->dtype = dtype;
  p->device = device;
  p->inference = thread_state.inference;
  int64_t n = 1, last = 0;
  for (int i = 0; i < sizes.size(); ++i) {
    n *= sizes[i];
    last += (sizes[i] - 1) * strides[i];
  }
  p->storage = Storage::allocate(n == 0 ? 0 : static_cast<size_t>(last + 1) * itemsize(dtype), device);
  p->set_geometry(sizes, strides, 0);
  return t;
}

Tensor alias(const Tensor& t, const Dims& sizes, const Dims& strides, int64_t offset) {
  const TensorImpl* from = t.impl();
  TensorImpl* p = TensorImpl::create();
  p->dtype = from->dtype;
  p->device = from->device;
  from->storage->retain();
  p->storage = from->storage;
  p->set_geometry(sizes, strides, offset);
  return Tensor::from_impl(p);
}

void fail_not_on_host(const Tensor& t) { WEFT_FAIL("data: the host cannot read {}; copy it with .to(\"cpu\")", t); }

namespace {
// Dimensions with more than one element, by rising stride.
int by_stride(const Dims& sizes, const Dims& strides, int* order) {
  int n = 0;
  for (int i = 0; i < sizes.size(); ++i)
    if (sizes[i] != 1) order[n++] = i;
  std::sort(order, order + n, [&](int a, int b) { return strides[a] < strides[b]; });
  return n;
}
}  // namespace

bool is_dense(const Dims& sizes, const Dims& strides) {
  int order[kMaxDims];
  int n = by_stride(sizes, strides, order);
  int64_t step = 1;
  for (int i = 0; i < n; ++i) {
    if (sizes[order[i]] == 0) return true;
    if (strides[order[i]] != step) return false;
    step *= sizes[order[i]];
  }
  return true;
}

bool overlaps_itself(const Dims& sizes, const Dims& strides) {
  int order[kMaxDims];
  int n = by_stride(sizes, strides, order);
  for (int i = 0; i < n; ++i)
    if (sizes[order[i]] == 0) return false;
  int64_t reach = 0;
  for (int i = 0; i < n; ++i) {
    if (strides[order[i]] <= reach) return true;
    reach += (sizes[order[i]] - 1) * strides[order[i]];
  }
  return false;
}

}  // namespace detail

// ---- creation

Tensor empty(const Dims& sizes, const TensorOptions& o) {
  checked_numel(sizes, "empty");
  Tensor t = detail::allocate(sizes, o.dtype.value_or(default_dtype()), detail::device_of(o));
  if (o.requires_grad) t.set_requires_grad(true);
  return t;
}

Tensor empty_strided(const Dims& sizes, const Dims& strides, const TensorOptions& o) {
  checked_numel(sizes, "empty_strided");
  WEFT_CHECK(sizes.size() == strides.size(), "empty_strided: {} sizes and {} strides", sizes.size(), strides.size());
  for (int64_t s : strides) WEFT_CHECK(s >= 0, "empty_strided: negative stride in {}", strides);
  Tensor t = detail::allocate(sizes, strides, o.dtype.value_or(default_dtype()), detail::device_of(o));
  if (o.requires_grad) t.set_requires_grad(true);
  return t;
}

Tensor full(const Dims& sizes, Scalar value, const TensorOptions& o) {
  DType t = o.dtype ? *o.dtype : value.is_floating() ? default_dtype() : value.dtype();
  checked_numel(sizes, "full");
  Tensor out = detail::allocate(sizes, t, detail::device_of(o));
  out.fill_(value);
  if (o.requires_grad) out.set_requires_grad(true);
  return out;
}
Tensor zeros(const Dims& sizes, const TensorOptions& o) {
  TensorOptions with = o;
  with.dtype = o.dtype.value_or(default_dtype());
  return full(sizes, 0, with);
}
Tensor ones(const Dims& sizes, const TensorOptions& o) {
  TensorOptions with = o;
  with.dtype = o.dtype.value_or(default_dtype());
  return full(sizes, 1, with);
}
Tensor scalar_tensor(Scalar value, const TensorOptions& o) {
  TensorOptions with = o;
  with.dtype = o.dtype.value_or(default_dtype());
  return full({}, value, with);
}
Tensor zeros_like(const Tensor& like, std::optional<DType> dtype) { return full_like(like, 0, dtype); }
Tensor ones_like(const Tensor& like, std::optional<DType> dtype) { return full_like(like, 1, dtype); }
Tensor full_like(const Tensor& like, Scalar value, std::optional<DType> dtype) {
  Tensor t = empty_like(like, dtype);
  t.fill_(value);
  return t;
}

Tensor eye(int64_t n, std::optional<int64_t> m, const TensorOptions& o) {
  int64_t cols = m.value_or(n);
  WEFT_CHECK(n >= 0 && cols >= 0, "eye: negative size ({}, {})", n, cols);
  Tensor out = zeros({n, cols}, {.dtype = o.dtype, .device = o.device});
  out.diagonal().fill_(1);
  return o.requires_grad ? out.detach().set_requires_grad(true) : out.detach();
}

namespace {
template <class T>
Tensor from_values(const T* values, size_t n, DType own, DType result, const TensorOptions& o) {
  Tensor t = detail::allocate({static_cast<int64_t>(n)}, own, Device());
  if (n) std::memcpy(detail::host_data<T>(t), values, n * sizeof(T));
  t = t.to(detail::device_of(o), result);
  if (o.requires_grad) t.set_requires_grad(true);
  return t;
}
}  // namespace
Tensor tensor(const std::vector<double>& v, const TensorOptions& o) {
  return from_values(v.data(), v.size(), DType::f64, o.dtype.value_or(default_dtype()), o);
}
Tensor tensor(const std::vector<float>& v, const TensorOptions& o) {
  return from_values(v.data(), v.size(), DType::f32, o.dtype.value_or(default_dtype()), o);
}
Tensor tensor(const std::vector<int64_t>& v, const TensorOptions& o) {
  return from_values(v.data(), v.size(), DType::i64, o.dtype.value_or(DType::i64), o);
}
Tensor tensor(std::initializer_list<double> v, const TensorOptions& o) {
  return from_values(v.begin(), v.size(), DType::f64, o.dtype.value_or(default_dtype()), o);
}

Tensor from_blob(void* data, const Dims& sizes, const Dims& strides, const TensorOptions& o,
                 std::function<void()> deleter) {
  checked_numel(sizes, "from_blob");
  WEFT_CHECK(sizes.size() == strides.size(), "from_blob: {} sizes and {} strides", sizes.size(), strides.size());
  DType t = o.dtype.value_or(default_dtype());
  int64_t last = 0;
  bool none = false;
  for (int i = 0; i < sizes.size(); ++i) {
    WEFT_CHECK(strides[i] >= 0, "from_blob: negative stride in {}", strides);
    none |= sizes[i] == 0;
    last += (sizes[i] - 1) * strides[i];
  }
  WEFT_CHECK(data != nullptr || none, "from_blob: null address for sizes {}", sizes);
  TensorImpl* p = TensorImpl::create();
  Tensor out = Tensor::from_impl(p);
  p->dtype = t;
  p->device = o.device.value_or(Device());
  p->inference = is_inference_mode_enabled();
  auto* context = deleter ? new std::function<void()>(std::move(deleter)) : nullptr;
  auto call = [](void* c) {
    auto* f = static_cast<std::function<void()>*>(c);
    (*f)();
    delete f;
  };
  p->storage = Storage::wrap(data, none ? 0 : static_cast<size_t>(last + 1) * itemsize(t), p->device,
                             context ? +call : nullptr, context);
  p->set_geometry(sizes, strides, 0);
  if (o.requires_grad) out.set_requires_grad(true);
  return out;
}
Tensor from_blob(void* data, const Dims& sizes, const TensorOptions& o, std::function<void()> deleter) {
  return from_blob(data, sizes, contiguous_strides(sizes), o, std::move(deleter));
}

// ---- what it is

Tensor Tensor::wrap(Scalar value) {
  Tensor t = detail::allocate({}, Dims(), value.dtype(), Device());
  TensorImpl* p = t.impl_;
  p->wrapped_number = true;
  if (value.is_floating())
    *static_cast<double*>(p->data) = value.f64();
  else if (value.is_bool())
    *static_cast<uint8_t*>(p->data) = value.truth();
  else
    *static_cast<int64_t*>(p->data) = value.i64();
  return t;
}

void detail::no_tensor() {
  fail_with(Fault::user,
            "an undefined Tensor is used: default-constructed, moved from, or a gradient that is not there (defined() "
            "tells)");
}

int64_t Tensor::size(int64_t d) const { return impl_->sizes[wrap_dim(d, dim(), "size")]; }
int64_t Tensor::stride(int64_t d) const { return impl_->strides[wrap_dim(d, dim(), "stride")]; }

bool Tensor::is_contiguous(MemoryFormat format) const {
  switch (format) {
    case MemoryFormat::channels_last:
      return dim() == 4 && (numel() == 0 || detail::is_dense(sizes(), strides())) && [&] {
        Dims want = channels_last_strides(sizes());
        for (int i = 0; i < 4; ++i)
          if (sizes()[i] != 1 && want[i] != strides()[i]) return false;
        return true;
      }();
    case MemoryFormat::channels_last_3d:
      return dim() == 5 && [&] {
        Dims want = channels_last_strides(sizes());
        for (int i = 0; i < 5; ++i)
          if (sizes()[i] != 1 && want[i] != strides()[i]) return false;
        return true;
      }();
    default:
      return impl_->contiguous;
  }
}

void Tensor::check_data_type(int kind, size_t bytes) const {
  WEFT_CHECK_TYPE(bytes == itemsize(dtype()) && (kind == 3 || kind == category(dtype())),
                  "data<T>: T has {} bytes and another kind than the tensor's {}", bytes, dtype());
  if (!device().is_cpu()) detail::fail_not_on_host(*this);
}

Scalar Tensor::item() const {
  WEFT_CHECK(defined() && numel() == 1, "item: needs exactly one element, got {}", *this);
  NoGrad guard;
  Tensor one = detach();
  if (is_floating(dtype())) return *detail::host_data<double>(one.to(Device()).to(DType::f64));
  if (dtype() == DType::bool_) return *detail::host_data<uint8_t>(one.to(Device())) != 0;
  return *detail::host_data<int64_t>(one.to(Device()).to(DType::i64));
}

}  // namespace weft
