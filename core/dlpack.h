#pragma once
#include <cstdint>

#include "core/tensor.h"

// Tensors across libraries without a copy: the structs of DLPack 1.0 (github.com/dmlc/dlpack), under its own include
// guard, so that they and the standard header can meet in one file.
#ifndef DLPACK_DLPACK_H_
#define DLPACK_DLPACK_H_
extern "C" {
typedef struct {
  uint32_t major, minor;
} DLPackVersion;
typedef enum : int32_t { kDLCPU = 1, kDLCUDA = 2, kDLCUDAHost = 3, kDLCUDAManaged = 13 } DLDeviceType;
typedef struct {
  DLDeviceType device_type;
  int32_t device_id;
} DLDevice;
typedef enum {
  kDLInt = 0U,
  kDLUInt = 1U,
  kDLFloat = 2U,
  kDLOpaqueHandle = 3U,
  kDLBfloat = 4U,
  kDLComplex = 5U,
  kDLBool = 6U
} DLDataTypeCode;
typedef struct {
  uint8_t code, bits;
  uint16_t lanes;
} DLDataType;
typedef struct {
  void* data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t* shape;
  int64_t* strides;  // in elements; null: contiguous
  uint64_t byte_offset;
} DLTensor;
typedef struct DLManagedTensor {
  DLTensor dl_tensor;
  void* manager_ctx;
  void (*deleter)(struct DLManagedTensor* self);
} DLManagedTensor;
typedef struct DLManagedTensorVersioned {
  DLPackVersion version;
  void* manager_ctx;
  void (*deleter)(struct DLManagedTensorVersioned* self);
  uint64_t flags;
  DLTensor dl_tensor;
} DLManagedTensorVersioned;
}
#define DLPACK_FLAG_BITMASK_READ_ONLY (1UL << 0UL)
#define DLPACK_FLAG_BITMASK_IS_COPIED (1UL << 1UL)
#endif

namespace weft {

/// The tensor for another library; it shares the memory and keeps it until the consumer calls the deleter (once).
/// Error: a tensor that requires grad.
DLManagedTensor* to_dlpack(const Tensor& t);
DLManagedTensorVersioned* to_dlpack_versioned(const Tensor& t);

/// A tensor over another library's memory; calls the deleter when the last tensor over it is gone. Errors (ownership
/// then stays with the caller): a dtype, device or version that weft does not have, several lanes, negative strides,
/// read-only memory.
Tensor from_dlpack(DLManagedTensor* t);
Tensor from_dlpack(DLManagedTensorVersioned* t);

}  // namespace weft
