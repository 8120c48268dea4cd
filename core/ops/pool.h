#pragma once
#include <limits>
#include <optional>
#include <tuple>

#include "core/dispatch.h"
#include "core/ops/extents.h"

// Pooling over 1 to 3 spatial dimensions (torch.nn.functional.*_pool*d). x is [N, C, spatial...] or [C, spatial...];
// results are channels-last where x is.
namespace weft {

struct MaxPoolOptions {
  Extents stride = {};  ///< the kernel size unless given
  Extents padding = 0;
  Extents dilation = 1;
  bool ceil_mode = false;  ///< also a last window that starts inside and ends outside
};
struct AvgPoolOptions {
  Extents stride = {};
  Extents padding = 0;
  bool ceil_mode = false;
  bool count_include_pad = true;
  std::optional<int64_t> divisor_override = {};
};

/// Largest value of each window; padding never wins. All dtypes but bool.
Tensor max_pool1d(const Tensor& x, const Extents& kernel_size, const MaxPoolOptions& o = {});
Tensor max_pool2d(const Tensor& x, const Extents& kernel_size, const MaxPoolOptions& o = {});
Tensor max_pool3d(const Tensor& x, const Extents& kernel_size, const MaxPoolOptions& o = {});
/// With the place of each (i64, in the flat spatial plane), as return_indices=True.
std::tuple<Tensor, Tensor> max_pool1d_with_indices(const Tensor& x, const Extents& kernel_size,
                                                   const MaxPoolOptions& o = {});
std::tuple<Tensor, Tensor> max_pool2d_with_indices(const Tensor& x, const Extents& kernel_size,
                                                   const MaxPoolOptions& o = {});
std::tuple<Tensor, Tensor> max_pool3d_with_indices(const Tensor& x, const Extents& kernel_size,
                                                   const MaxPoolOptions& o = {});

/// Mean of each window. Floating dtypes and i64.
Tensor avg_pool1d(const Tensor& x, const Extents& kernel_size, const AvgPoolOptions& o = {});
Tensor avg_pool2d(const Tensor& x, const Extents& kernel_size, const AvgPoolOptions& o = {});
Tensor avg_pool3d(const Tensor& x, const Extents& kernel_size, const AvgPoolOptions& o = {});

/// In output_size of the adaptive pools: as many as the input has (None in PyTorch).
inline constexpr int64_t kInputSize = std::numeric_limits<int64_t>::min();
/// Windows chosen so that the output has output_size; output o averages [floor(o n / m), ceil((o + 1) n / m)).
Tensor adaptive_avg_pool1d(const Tensor& x, const Extents& output_size);
Tensor adaptive_avg_pool2d(const Tensor& x, const Extents& output_size);
Tensor adaptive_avg_pool3d(const Tensor& x, const Extents& output_size);
Tensor adaptive_max_pool1d(const Tensor& x, const Extents& output_size);
Tensor adaptive_max_pool2d(const Tensor& x, const Extents& output_size);
Tensor adaptive_max_pool3d(const Tensor& x, const Extents& output_size);
std::tuple<Tensor, Tensor> adaptive_max_pool1d_with_indices(const Tensor& x, const Extents& output_size);
std::tuple<Tensor, Tensor> adaptive_max_pool2d_with_indices(const Tensor& x, const Extents& output_size);
std::tuple<Tensor, Tensor> adaptive_max_pool3d_with_indices(const Tensor& x, const Extents& output_size);

// ---- records
/// Per-dimension values are (depth, height, width), missing ones 1, 1, 0, 1, 1, 1.
struct PoolAttrs {
  bool adaptive = false;
  bool count_include_pad = true;
  MemoryFormat format = MemoryFormat::contiguous;
  int64_t divisor_override = 0;
  int64_t kernel[3] = {1, 1, 1}, stride[3] = {1, 1, 1}, padding[3] = {0, 0, 0}, dilation[3] = {1, 1, 1};
  int64_t in_size[3] = {1, 1, 1}, out_size[3] = {1, 1, 1};
};
/// x -> (y, index).
struct MaxPoolOp {
  static const OpRecord record;
};
/// (dy, index) -> dx, and its transpose (x, index) -> x at index.
struct MaxPoolBackwardOp {
  static const OpRecord record;
};
struct MaxPoolGatherOp {
  static const OpRecord record;
};
/// x -> y, and its transpose dy -> dx.
struct AvgPoolOp {
  static const OpRecord record;
};
struct AvgPoolBackwardOp {
  static const OpRecord record;
};

namespace cpu {
void max_pool(const OpCall& c);
void max_pool_backward(const OpCall& c);
void max_pool_gather(const OpCall& c);
void avg_pool(const OpCall& c);
void avg_pool_backward(const OpCall& c);
}  // namespace cpu
namespace rules {
void max_pool(Node& n, const Tensor* g, Tensor* gin);
void max_pool_backward(Node& n, const Tensor* g, Tensor* gin);
void max_pool_gather(Node& n, const Tensor* g, Tensor* gin);
void avg_pool(Node& n, const Tensor* g, Tensor* gin);
void avg_pool_backward(Node& n, const Tensor* g, Tensor* gin);
}  // namespace rules

namespace detail {
/// op on (x[, index]) giving a tensor of the pool's output size, or of its input size where `to_input`.
Tensor pool_like(const OpRecord& op, const Tensor& x, const Tensor& index, const PoolAttrs& attrs, bool to_input);
}  // namespace detail

}  // namespace weft
