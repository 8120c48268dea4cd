#include "core/ops/copy.h"

#include "core/error.h"
#include "core/ops/extents.h"
#include "core/thread_state.h"

namespace weft {

const OpRecord CopyOp::record{.name = "copy", .cpu = cpu::copy, .rule = rules::copy, .crosses = true};
const OpRecord ToCopyOp::record{.name = "to_copy", .cpu = cpu::copy, .rule = rules::to_copy, .crosses = true};
const OpRecord FillOp::record{.name = "fill", .cpu = cpu::fill, .rule = rules::fill};

namespace {

Dims strides_for(const Tensor& t, MemoryFormat format) {
  switch (format) {
    case MemoryFormat::contiguous:
      return contiguous_strides(t.sizes());
    case MemoryFormat::channels_last:
      WEFT_CHECK(t.dim() == 4, "memory_format channels_last: needs 4 dimensions, got {}", t);
      return channels_last_strides(t.sizes());
    case MemoryFormat::channels_last_3d:
      WEFT_CHECK(t.dim() == 5, "memory_format channels_last_3d: needs 5 dimensions, got {}", t);
      return channels_last_strides(t.sizes());
    case MemoryFormat::preserve:
      break;
  }
  return detail::is_dense(t.sizes(), t.strides()) ? t.strides() : contiguous_strides(t.sizes());
}

Tensor to_copy(const Tensor& t, Device device, DType dtype, MemoryFormat format, bool non_blocking = false) {
  Tensor out = detail::allocate(t.sizes(), strides_for(t, format), dtype, device);
  const Tensor in[1] = {t};
  dispatch(ToCopyOp::record, in, out, CopyOp::Attrs{non_blocking});
  return out;
}
Tensor to_copy(const Tensor& t, DType dtype, MemoryFormat format) { return to_copy(t, t.device(), dtype, format); }

}  // namespace

Tensor empty_like(const Tensor& like, std::optional<DType> dtype, MemoryFormat format) {
  return detail::allocate(like.sizes(), strides_for(like, format), dtype.value_or(like.dtype()), like.device());
}

Tensor Tensor::clone(MemoryFormat format) const { return to_copy(*this, dtype(), format); }
Tensor Tensor::contiguous(MemoryFormat format) const {
  WEFT_CHECK(format != MemoryFormat::preserve, "contiguous: preserve is no layout; use clone()");
  return is_contiguous(format) ? *this : to_copy(*this, dtype(), format);
}
Tensor Tensor::to(DType t) const { return t == dtype() ? *this : to_copy(*this, t, MemoryFormat::preserve); }
Tensor Tensor::to(Device d, bool non_blocking) const { return to(d, dtype(), non_blocking); }
Tensor Tensor::to(Device d, DType t, bool non_blocking) const {
  return d == device() ? to(t) : to_copy(*this, d, t, MemoryFormat::preserve, non_blocking);
}
Tensor Tensor::to(MemoryFormat format) const {
  // By strides, not is_contiguous(): with one channel both formats are, and only the strides say which is meant.
  return format == MemoryFormat::preserve || detail::suggest_memory_format(*this) == format
             ? *this
             : to_copy(*this, dtype(), format);
}
Tensor Tensor::type_as(const Tensor& o) const { return to(o.device(), o.dtype()); }

Tensor& Tensor::copy_(const Tensor& src, bool non_blocking) {
  WEFT_CHECK(src.defined(), "copy_: src is an undefined tensor");
  WEFT_CHECK(broadcast_shapes(sizes(), src.sizes(), "copy_") == sizes(), "copy_: src {} does not broadcast to self {}",
             src, *this);
  if (is_same(src)) return *this;
  const Tensor in[2] = {*this, src};
  dispatch_inplace(CopyOp::record, *this, in, CopyOp::Attrs{non_blocking});
  return *this;
}
Tensor& Tensor::fill_(Scalar value) {
  const Tensor in[1] = {*this};
  dispatch_inplace(FillOp::record, *this, in, FillOp::Attrs{value});
  return *this;
}
Tensor& Tensor::fill_(const Tensor& value) {
  WEFT_CHECK(value.defined() && value.dim() == 0, "fill_: value must be a number or a 0-dim tensor, got {}", value);
  return copy_(value);
}
Tensor& Tensor::zero_() { return fill_(0); }
Tensor fill(const Tensor& x, Scalar value) { return x.clone().fill_(value); }
Tensor fill(const Tensor& x, const Tensor& value) { return x.clone().fill_(value); }

Tensor& Tensor::resize_(const Dims& sizes) {
  WEFT_CHECK(!requires_grad(), "resize_: a tensor that requires grad cannot be resized");
  int64_t n = checked_numel(sizes, "resize_");
  size_t bytes = static_cast<size_t>(n + impl_->offset) * itemsize(dtype());
  if (bytes > impl_->storage->bytes) {
    WEFT_CHECK(impl_->storage->owned, "resize_: foreign memory of {} bytes cannot grow to {}", impl_->storage->bytes,
               bytes);
    Storage* grown = Storage::allocate(bytes, device());
    Storage::release(impl_->storage);
    impl_->storage = grown;
  }
  impl_->set_geometry(sizes, contiguous_strides(sizes), impl_->offset);
  return *this;
}

void Tensor::set_data(const Tensor& o) {
  WEFT_CHECK(o.defined(), "set_data: the new value is an undefined tensor");
  WEFT_CHECK(!impl_->grad_fn, "set_data: only leaves can be given other memory");
  o.impl_->storage->retain();
  Storage::release(impl_->storage);
  impl_->storage = o.impl_->storage;
  impl_->dtype = o.impl_->dtype;
  impl_->device = o.impl_->device;
  impl_->set_geometry(o.sizes(), o.strides(), o.storage_offset());
}

}  // namespace weft
