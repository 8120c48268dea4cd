#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "kernels/cuda/dnn.h"
#include "kernels/cuda/real/cudnn_graph.h"

// From calls to plans of cuDNN.
namespace weft::gpu::dnn {

/// A plan, and the memory that its tensors are found at: `offsets` bytes into the workspace after the plan's own, or a
/// pointer of the call.
struct PlannedCall {
  std::unique_ptr<cudnn::Plan> plan;  ///< null: the library declines, for the reason `why`
  std::string why;
  std::vector<int64_t> uids;
  std::vector<void*> (*pointers)(const void* call, const PlannedCall& plan, char* scratch) = nullptr;
  int64_t scratch = 0, cleared = 0;  ///< bytes beside the plan's workspace, and how many of them start as zeros
  int64_t offsets[4] = {};           ///< of tensors in the scratch memory
  float numbers[4] = {};
};

PlannedCall plan(const ConvolutionCall& c, const cudnn::Target& target);
PlannedCall plan(const AttentionCall& c, const cudnn::Target& target);

/// The plan of this thread and the current device for calls like `c`; made once.
const PlannedCall& planned(const ConvolutionCall& c);
const PlannedCall& planned(const AttentionCall& c);

/// What tells calls apart.
std::vector<int64_t> key(const ConvolutionCall& c);
std::vector<int64_t> key(const AttentionCall& c);

struct HashKey {
  size_t operator()(const std::vector<int64_t>& key) const noexcept {
    uint64_t h = 0x9e3779b97f4a7c15ull;
    for (const int64_t v : key) h = (h ^ static_cast<uint64_t>(v)) * 0xff51afd7ed558ccdull, h ^= h >> 32;
    return h;
  }
};

/// The largest power of two up to 16 that divides the address.
inline int64_t alignment(const void* p) {
  const uint64_t a = reinterpret_cast<uintptr_t>(p) | 16;
  return static_cast<int64_t>(a & (~a + 1));
}

}  // namespace weft::gpu::dnn
