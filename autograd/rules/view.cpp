#include "core/ops/view.h"

#include <algorithm>

#include "autograd/node.h"
#include "core/ops/shape.h"

// Gradients of views: the gradient put back to where the elements came from, zero elsewhere.
namespace weft::rules {

void view(Node& n, const Tensor* g, Tensor* gin) {
  if (g[0].defined()) gin[0] = g[0].reshape(n.attrs<ViewOp::Attrs>().input_sizes);
}
// The engine sums over what was broadcast.
void expand(Node&, const Tensor* g, Tensor* gin) { gin[0] = g[0]; }
void permute(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  const Dims& dims = n.attrs<PermuteOp::Attrs>().dims;
  Dims inverse = dims;
  for (int i = 0; i < dims.size(); ++i) inverse[static_cast<int>(dims[i])] = i;
  gin[0] = g[0].permute(inverse);
}
void slice(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  const auto& a = n.attrs<SliceOp::Attrs>();
  Tensor whole = zeros(a.input_sizes, {.dtype = g[0].dtype(), .device = g[0].device()});
  Tensor part =
      a.drop ? whole.select(a.dim, a.start) : whole.slice(a.dim, a.start, a.start + a.length * a.step, a.step);
  part.copy_(g[0]);
  gin[0] = whole;
}
// The parts' gradients one behind the other; a part that was not used has zeros.
void split(Node& n, const Tensor* g, Tensor* gin) {
  const auto& a = n.attrs<SplitOp::Attrs>();
  const Tensor* some = std::find_if(g, g + n.n_outputs, [](const Tensor& t) { return t.defined(); });
  if (some == g + n.n_outputs) return;
  std::vector<Tensor> parts(g, g + n.n_outputs);
  for (size_t i = 0; i < parts.size(); ++i)
    if (!parts[i].defined()) parts[i] = zeros(n.outputs[i].sizes, {.dtype = some->dtype(), .device = some->device()});
  gin[0] = a.drop ? stack(parts, a.dim) : cat(parts, a.dim);
}
void diagonal(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  const auto& a = n.attrs<DiagonalOp::Attrs>();
  Tensor whole = zeros(a.input_sizes, {.dtype = g[0].dtype(), .device = g[0].device()});
  whole.diagonal(a.offset, a.dim1, a.dim2).copy_(g[0]);
  gin[0] = whole;
}

namespace {
// For each element of a geometry its place in memory.
Tensor places(const Dims& sizes, const Dims& strides, int64_t offset, Device device) {
  Tensor at = full(sizes, offset, {.dtype = DType::i64, .device = device});
  for (int d = 0; d < sizes.size(); ++d) {
    Dims shape = Dims::filled(sizes.size(), 1);
    shape[d] = sizes[d];
    at = at.add(arange(0, sizes[d], 1, {.device = device}).mul(strides[d]).view(shape));
  }
  return at.reshape({-1});
}
}  // namespace

// Every place in memory sums the gradients of the elements that show it; an input that shows a place k times takes 1/k
// each.
void as_strided(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  const auto& a = n.attrs<AsStridedOp::Attrs>();
  int64_t low = std::min(a.offset, a.input_offset), high = low;
  auto reach = [&](const Dims& sizes, const Dims& strides, int64_t offset) {
    for (int d = 0; d < sizes.size(); ++d) offset += std::max<int64_t>(sizes[d] - 1, 0) * strides[d];
    high = std::max(high, offset);
  };
  reach(a.sizes, a.strides, a.offset);
  reach(a.input_sizes, a.input_strides, a.input_offset);
  Tensor memory = zeros({high - low + 1}, {.dtype = g[0].dtype(), .device = g[0].device()});
  memory = memory.index_add(0, places(a.sizes, a.strides, a.offset - low, g[0].device()), g[0].reshape({-1}));
  Tensor from = places(a.input_sizes, a.input_strides, a.input_offset - low, g[0].device());
  if (detail::overlaps_itself(a.input_sizes, a.input_strides)) {
    const TensorOptions like{.dtype = g[0].dtype(), .device = g[0].device()};
    Tensor count = zeros({high - low + 1}, like).index_add(0, from, ones(from.sizes(), like));
    memory = memory.div(count.clamp_min(1));
  }
  gin[0] = memory.index_select(0, from).view(a.input_sizes);
}

void unfold(Node& n, const Tensor* g, Tensor* gin) {
  if (!g[0].defined()) return;
  const auto& a = n.attrs<UnfoldOp::Attrs>();
  Tensor whole = zeros(a.input_sizes, {.dtype = g[0].dtype(), .device = g[0].device()});
  if (whole.dim() == 0) {
    gin[0] = g[0].reshape({});
    return;
  }
  // Windows that do not overlap are written at once; overlapping ones are added one offset at a time.
  int64_t windows = g[0].size(a.dim);
  for (int64_t k = 0; k < a.size; ++k) {
    Tensor place = whole.slice(a.dim, k, k + (windows - 1) * a.step + 1, a.step);
    place.add_(g[0].select(-1, k));
  }
  gin[0] = whole;
}

}  // namespace weft::rules
