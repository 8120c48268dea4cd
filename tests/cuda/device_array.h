#pragma once

#include <vector>

#include "kernels/cuda/runtime.h"

namespace weft::gpu {

// n values in device memory, without a tensor around them.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t n) : n_(n) {
    check(cudaMalloc(&data_, bytes()), "test");
    check(cudaMemsetAsync(data_, 0xff, bytes(), nullptr), "test");
  }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    check(cudaMemcpyAsync(data_, values.data(), bytes(), cudaMemcpyHostToDevice, nullptr), "test");
  }
  DeviceArray(const DeviceArray&) = delete;
  ~DeviceArray() { cudaFree(data_); }
  T* data() const { return static_cast<T*>(data_); }
  std::vector<T> read() const {
    std::vector<T> values(n_);
    check(cudaMemcpyAsync(values.data(), data_, bytes(), cudaMemcpyDeviceToHost, nullptr), "test");
    check(cudaStreamSynchronize(nullptr), "test");
    return values;
  }

 private:
  size_t bytes() const { return n_ * sizeof(T); }
  size_t n_;
  void* data_ = nullptr;
};

}  // namespace weft::gpu
