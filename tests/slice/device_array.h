#pragma once

#include <cstdlib>
#include <cstring>
#include <vector>

#include "core/error.h"

#ifdef WEFT_CUDA_EMULATE
#include "kernels/cuda/emulate/device_code.h"
#else
#include <cuda_runtime_api.h>
#endif

namespace weft::slice {

// n values in device memory: poisoned host memory under the emulation.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t n) : n_(n) {
#ifdef WEFT_CUDA_EMULATE
    data_ = std::aligned_alloc(16, (bytes() + 15) / 16 * 16);
    std::memset(data_, cuda::emulate::settings().poison, bytes());
#else
    check(cudaMalloc(&data_, bytes()));
    check(cudaMemset(data_, 0xff, bytes()));
#endif
  }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
#ifdef WEFT_CUDA_EMULATE
    std::memcpy(data_, values.data(), bytes());
#else
    check(cudaMemcpy(data_, values.data(), bytes(), cudaMemcpyHostToDevice));
#endif
  }
  DeviceArray(const DeviceArray&) = delete;
  ~DeviceArray() {
#ifdef WEFT_CUDA_EMULATE
    std::free(data_);
#else
    cudaFree(data_);
#endif
  }
  T* data() const { return static_cast<T*>(data_); }
  std::vector<T> read() const {
    std::vector<T> values(n_);
#ifdef WEFT_CUDA_EMULATE
    std::memcpy(values.data(), data_, bytes());
#else
    check(cudaMemcpy(values.data(), data_, bytes(), cudaMemcpyDeviceToHost));
#endif
    return values;
  }

 private:
  size_t bytes() const { return n_ * sizeof(T); }
#ifndef WEFT_CUDA_EMULATE
  static void check(cudaError_t status) { WEFT_ASSERT(status == cudaSuccess, "cuda: {}", cudaGetErrorString(status)); }
#endif

  size_t n_;
  void* data_ = nullptr;
};

}  // namespace weft::slice
