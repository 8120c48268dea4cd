#include "core/error.h"
#include "kernels/cuda/real/dnn_plans.h"

namespace weft::gpu::dnn {
namespace {

using Sizes = cudnn::Graph::Sizes;

// Batch (of w: output channel), channel and the last `space` spatial dimensions.
Sizes sizes_of(int64_t first, int64_t second, const int64_t* spatial, int space) {
  Sizes s{first, second};
  for (int d = 3 - space; d < 3; ++d) s.push_back(spatial[d]);
  return s;
}
Sizes strides_of(const int64_t* strides, int space) {
  Sizes s{strides[0], strides[1]};
  for (int d = 3 - space; d < 3; ++d) s.push_back(strides[2 + d]);
  return s;
}
Sizes spatial(const int64_t* values, int space) { return Sizes(values + 3 - space, values + 3); }

std::vector<void*> pointers(const void* call, const PlannedCall&, char*) {
  const auto& c = *static_cast<const ConvolutionCall*>(call);
  return {c.x, c.w, c.y};
}

}  // namespace

PlannedCall plan(const ConvolutionCall& c, const cudnn::Target& target) {
  using cudnn::Graph;
  PlannedCall p;
  const int space = c.space;
  const cudnnDataType_t type = cudnn::data_type(c.dtype),
                        compute = c.dtype == DType::f64 ? CUDNN_DATA_DOUBLE : CUDNN_DATA_FLOAT;
  Graph g;
  const auto x =
      g.memory(type, sizes_of(c.batch, c.cin, c.x_size, space), strides_of(c.x_strides, space), alignment(c.x));
  const auto w = g.memory(type, sizes_of(c.cout, c.cin / c.groups, c.kernel, space), strides_of(c.w_strides, space),
                          alignment(c.w));
  const auto y =
      g.memory(type, sizes_of(c.batch, c.cout, c.y_size, space), strides_of(c.y_strides, space), alignment(c.y));
  const auto kind = c.kind == ConvolutionCall::Kind::forward         ? Graph::Convolve::forward
                    : c.kind == ConvolutionCall::Kind::data_gradient ? Graph::Convolve::data_gradient
                                                                     : Graph::Convolve::weight_gradient;
  g.convolve(kind, x, w, y, compute, spatial(c.stride, space), spatial(c.padding, space), spatial(c.dilation, space));
  cudnn::Limits limits;
  limits.deterministic = c.deterministic;
  limits.exact_f32 = c.dtype == DType::f32 && !c.tf32;
  p.plan = g.plan(target, limits, p.why);
  p.uids = {x, w, y};
  p.pointers = pointers;
  return p;
}

std::vector<int64_t> key(const ConvolutionCall& c) {
  std::vector<int64_t> k{static_cast<int64_t>(c.kind),
                         static_cast<int64_t>(c.dtype),
                         c.deterministic,
                         c.tf32,
                         c.space,
                         c.batch,
                         c.groups,
                         c.cin,
                         c.cout,
                         alignment(c.x),
                         alignment(c.w),
                         alignment(c.y)};
  k.reserve(48);
  for (const auto* three : {c.x_size, c.y_size, c.kernel, c.stride, c.padding, c.dilation})
    k.insert(k.end(), three, three + 3);
  for (const auto* five : {c.x_strides, c.w_strides, c.y_strides}) k.insert(k.end(), five, five + 5);
  return k;
}

}  // namespace weft::gpu::dnn
