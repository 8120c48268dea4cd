#pragma once

#include <initializer_list>
#include <memory>
#include <vector>

#include "core/dtype.h"
#include "kernels/cuda/real/cudnn_library.h"

// Operation graphs of cuDNN's backend interface, and plans that run them.
namespace weft::gpu::cudnn {

class Descriptor {
 public:
  explicit Descriptor(cudnnBackendDescriptorType_t type);
  ~Descriptor();
  Descriptor(Descriptor&& other) noexcept : raw_(other.raw_) { other.raw_ = nullptr; }
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(raw_, other.raw_);
    return *this;
  }
  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count, const void* values);
  void set(cudnnBackendAttributeName_t name, int64_t value) { set(name, CUDNN_TYPE_INT64, 1, &value); }
  void set(cudnnBackendAttributeName_t name, bool value) { set(name, CUDNN_TYPE_BOOLEAN, 1, &value); }
  void set(cudnnBackendAttributeName_t name, double value) { set(name, CUDNN_TYPE_DOUBLE, 1, &value); }
  void set(cudnnBackendAttributeName_t name, cudnnDataType_t value) { set(name, CUDNN_TYPE_DATA_TYPE, 1, &value); }
  void set(cudnnBackendAttributeName_t name, const Descriptor& value) {
    set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &value.raw_);
  }
  void finalize();
  cudnnStatus_t try_finalize() { return library()->finalize(raw_); }
  cudnnBackendDescriptor_t raw() const { return raw_; }

 private:
  cudnnBackendDescriptor_t raw_ = nullptr;
};

cudnnDataType_t data_type(DType dtype);

/// What an engine may do.
struct Limits {
  bool deterministic = false;
  bool exact_f32 = false;  ///< no TF32, FFT or large Winograd tiles
  int64_t workspace = int64_t{1} << 30;
};

/// Where plans are made for: a handle, or (without a device) the described properties of one.
struct Target {
  cudnnHandle_t handle = nullptr;
  cudnnBackendDescriptor_t properties = nullptr;
};

class Plan {
 public:
  Plan(Descriptor plan, int64_t workspace) : plan_(std::move(plan)), workspace_(workspace) {}
  int64_t workspace() const { return workspace_; }
  /// pointers[i] belongs to the tensor uids[i]; numbers are read from the host.
  void execute(cudnnHandle_t handle, const std::vector<int64_t>& uids, const std::vector<void*>& pointers,
               void* workspace) const;

 private:
  Descriptor plan_;
  int64_t workspace_;
};

/// Tensors and the operations between them. A Tensor is its index and its id in Plan::execute.
class Graph {
 public:
  using Tensor = int64_t;
  using Sizes = std::vector<int64_t>;

  /// In memory, aligned to `alignment` bytes.
  Tensor memory(cudnnDataType_t type, const Sizes& sizes, const Sizes& strides, int64_t alignment = 16);
  /// Between operations only.
  Tensor between(cudnnDataType_t type, const Sizes& sizes, const Sizes& strides);
  /// One number of the host.
  Tensor number(cudnnDataType_t type, int rank = 4);

  enum class Convolve { forward, data_gradient, weight_gradient };
  void convolve(Convolve kind, Tensor x, Tensor w, Tensor y, cudnnDataType_t compute, const Sizes& stride,
                const Sizes& padding, const Sizes& dilation);
  void matmul(Tensor a, Tensor b, Tensor c);
  void pointwise(cudnnPointwiseMode_t mode, Tensor x, Tensor y, cudnnDataType_t compute = CUDNN_DATA_FLOAT);
  void pointwise(cudnnPointwiseMode_t mode, Tensor x, Tensor b, Tensor y, cudnnDataType_t compute = CUDNN_DATA_FLOAT);
  void index(Tensor x, Tensor y, int64_t axis);
  void select(Tensor x, Tensor b, Tensor condition, Tensor y);
  void reduce(cudnnReduceTensorOp_t operation, Tensor x, Tensor y);
  void reshape(Tensor x, Tensor y);

  /// Null: no engine takes the graph within the limits; `why` gets the library's last words.
  std::unique_ptr<Plan> plan(const Target& target, const Limits& limits, std::string& why);

 private:
  Tensor tensor(cudnnDataType_t type, const Sizes& sizes, const Sizes& strides, int64_t alignment, bool is_virtual,
                bool by_value);
  void operation(cudnnBackendDescriptorType_t type,
                 std::initializer_list<std::pair<cudnnBackendAttributeName_t, const Descriptor*>> parts);
  Descriptor& at(Tensor t) { return tensors_[static_cast<size_t>(t - 1)]; }

  std::vector<Descriptor> tensors_, parts_, operations_;
};

}  // namespace weft::gpu::cudnn
