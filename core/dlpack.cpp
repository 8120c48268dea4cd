#include "core/dlpack.h"

#include <cstddef>

#include "core/error.h"

// The layout of the standard on a 64-bit machine, whichever header declared the structs.
static_assert(sizeof(DLTensor) == 48 && offsetof(DLTensor, ndim) == 16 && offsetof(DLTensor, dtype) == 20 &&
              offsetof(DLTensor, byte_offset) == 40);
static_assert(sizeof(DLManagedTensor) == 64 && offsetof(DLManagedTensor, deleter) == 56);
static_assert(sizeof(DLManagedTensorVersioned) == 80 && offsetof(DLManagedTensorVersioned, flags) == 24 &&
              offsetof(DLManagedTensorVersioned, dl_tensor) == 32);

namespace weft {
namespace {

constexpr DLDataType kTypes[kDTypeCount] = {{kDLFloat, 32, 1}, {kDLFloat, 64, 1}, {kDLBfloat, 16, 1}, {kDLFloat, 16, 1},
                                            {kDLInt, 8, 1},    {kDLUInt, 8, 1},   {kDLInt, 16, 1},    {kDLInt, 32, 1},
                                            {kDLInt, 64, 1},   {kDLBool, 8, 1}};

// What an exported tensor keeps alive.
template <class Managed>
struct Exported {
  Managed managed;
  Tensor tensor;
  Dims sizes, strides;
};

template <class Managed>
Managed* export_as(const Tensor& t) {
  WEFT_CHECK(t.defined(), "to_dlpack: undefined tensor");
  WEFT_CHECK(!t.requires_grad(), "to_dlpack: {} requires grad, which DLPack cannot carry; use detach()", t);
  auto* e = new Exported<Managed>{{}, t, t.sizes(), t.strides()};
  e->managed.manager_ctx = e;
  e->managed.deleter = [](Managed* m) { delete static_cast<Exported<Managed>*>(m->manager_ctx); };
  DLTensor& d = e->managed.dl_tensor;
  d.data = t.data_ptr();
  d.device = {t.device().is_cpu() ? kDLCPU : kDLCUDA, t.device().index};
  d.ndim = t.dim();
  d.dtype = kTypes[static_cast<int>(t.dtype())];
  d.shape = e->sizes.data();
  d.strides = e->strides.data();
  return &e->managed;
}

DType dtype_of(DLDataType d) {
  for (int i = 0; i < kDTypeCount; ++i)
    if (kTypes[i].code == d.code && kTypes[i].bits == d.bits && kTypes[i].lanes == d.lanes)
      return static_cast<DType>(i);
  WEFT_FAIL("from_dlpack: no dtype for code {}, {} bits, {} lanes", static_cast<int>(d.code), static_cast<int>(d.bits),
            static_cast<int>(d.lanes));
}

template <class Managed>
Tensor import_from(Managed* m) {
  const DLTensor& d = m->dl_tensor;
  WEFT_CHECK(d.device.device_type == kDLCPU || d.device.device_type == kDLCUDAHost,
             "from_dlpack: memory of device type {}; move it to the CPU first", static_cast<int>(d.device.device_type));
  WEFT_CHECK(d.ndim >= 0 && d.ndim <= kMaxDims, "from_dlpack: {} dimensions; at most {}", d.ndim, kMaxDims);
  DType t = dtype_of(d.dtype);
  Dims sizes(d.shape, static_cast<size_t>(d.ndim));
  checked_numel(sizes, "from_dlpack");
  Dims strides = d.strides ? Dims(d.strides, static_cast<size_t>(d.ndim)) : contiguous_strides(sizes);
  for (int64_t s : strides) WEFT_CHECK(s >= 0, "from_dlpack: negative stride in {}; copy it first", strides);
  return from_blob(static_cast<char*>(d.data) + d.byte_offset, sizes, strides, {.dtype = t}, [m] {
    if (m->deleter) m->deleter(m);
  });
}

}  // namespace

DLManagedTensor* to_dlpack(const Tensor& t) { return export_as<DLManagedTensor>(t); }
DLManagedTensorVersioned* to_dlpack_versioned(const Tensor& t) {
  auto* m = export_as<DLManagedTensorVersioned>(t);
  m->version = {1, 0};
  m->flags = 0;
  return m;
}
Tensor from_dlpack(DLManagedTensor* t) {
  WEFT_CHECK(t != nullptr, "from_dlpack: null");
  return import_from(t);
}
Tensor from_dlpack(DLManagedTensorVersioned* t) {
  WEFT_CHECK(t != nullptr, "from_dlpack: null");
  WEFT_CHECK(t->version.major == 1, "from_dlpack: version {}.{}; only 1.x is known", t->version.major,
             t->version.minor);
  WEFT_CHECK(!(t->flags & DLPACK_FLAG_BITMASK_READ_ONLY), "from_dlpack: read-only memory; copy it first");
  return import_from(t);
}

}  // namespace weft
