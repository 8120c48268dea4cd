#include "core/ops/shape.h"

#include <algorithm>

#include "core/error.h"
#include "core/host_read.h"
#include "core/ops/gather.h"
#include "core/ops/index.h"
#include "core/ops/pointwise_api.h"
#include "core/thread_state.h"

namespace weft {

const OpRecord CatOp::record{.name = "cat", .cpu = cpu::cat, .rule = rules::cat};
const OpRecord FlipOp::record{.name = "flip", .cpu = cpu::flip, .rule = rules::flip};
const OpRecord TriangleOp::record{.name = "triangle", .cpu = cpu::triangle, .rule = rules::triangle};

// ---- joining

Tensor cat(const std::vector<Tensor>& tensors, int64_t given_dim) {
  WEFT_CHECK(!tensors.empty(), "cat: needs at least one tensor");
  for (const Tensor& t : tensors) WEFT_CHECK(t.defined(), "cat: undefined tensor");
  for (const Tensor& t : tensors) WEFT_CHECK(t.dim() > 0, "cat: a 0-dim tensor cannot be joined; use stack()");
  auto skipped = [](const Tensor& t) { return t.dim() == 1 && t.numel() == 0; };
  const Tensor* first = &tensors[0];
  DType dtype = first->dtype();
  for (const Tensor& t : tensors) {
    if (skipped(*first)) first = &t;
    dtype = promote_types(dtype, t.dtype());
  }
  const int dim = wrap_dim(given_dim, first->dim(), "cat");
  Dims sizes = first->sizes();
  sizes[dim] = 0;
  static_assert(sizeof(CatOp::Attrs) == sizeof(int64_t));
  std::vector<int64_t> attrs(tensors.size() + 1);
  new (attrs.data()) CatOp::Attrs{dim};
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Tensor& t = tensors[i];
    int64_t length = 0;
    if (!skipped(t)) {
      WEFT_CHECK(t.dim() == first->dim(), "cat: {} and {} have different numbers of dimensions", *first, t);
      for (int d = 0; d < t.dim(); ++d)
        WEFT_CHECK(d == dim || t.sizes()[d] == sizes[d], "cat: {} and {} differ in dim {}; only dim {} may differ",
                   *first, t, d, dim);
      length = t.sizes()[dim];
    }
    attrs[i + 1] = length;
    sizes[dim] += length;
  }
  checked_numel(sizes, "cat");
  Tensor out = detail::allocate(sizes, dtype, first->device());
  detail::dispatch(CatOp::record, tensors.data(), static_cast<int>(tensors.size()), &out, 1, attrs.data(),
                   attrs.size() * sizeof(int64_t));
  return out;
}

Tensor stack(const std::vector<Tensor>& tensors, int64_t given_dim) {
  WEFT_CHECK(!tensors.empty() && tensors[0].defined(), "stack: needs at least one tensor");
  const int dim = wrap_dim(given_dim, tensors[0].dim() + 1, "stack");
  std::vector<Tensor> parts;
  parts.reserve(tensors.size());
  for (const Tensor& t : tensors) {
    WEFT_CHECK(t.defined() && t.sizes() == tensors[0].sizes(), "stack: shapes differ: {} and {}", tensors[0], t);
    parts.push_back(t.unsqueeze(dim));
  }
  return cat(parts, dim);
}

namespace {
std::vector<Tensor> at_least(const std::vector<Tensor>& tensors, int dims) {
  std::vector<Tensor> out;
  for (Tensor t : tensors) {
    WEFT_CHECK(t.defined(), "stack: undefined tensor");
    if (t.dim() == 0) t = t.unsqueeze(0);
    if (t.dim() == 1 && dims >= 2) t = t.unsqueeze(0);
    if (t.dim() == 2 && dims >= 3) t = t.unsqueeze(2);
    out.push_back(t);
  }
  WEFT_CHECK(!out.empty(), "stack: needs at least one tensor");
  return out;
}
}  // namespace
Tensor hstack(const std::vector<Tensor>& tensors) {
  std::vector<Tensor> parts = at_least(tensors, 1);
  return cat(parts, parts[0].dim() == 1 ? 0 : 1);
}
Tensor vstack(const std::vector<Tensor>& tensors) { return cat(at_least(tensors, 2), 0); }
Tensor dstack(const std::vector<Tensor>& tensors) { return cat(at_least(tensors, 3), 2); }

// ---- repeating

Tensor Tensor::repeat(const Dims& repeats) const {
  WEFT_CHECK(repeats.size() >= dim(), "repeat: {} repeats for {}; give one per dimension", repeats.size(), *this);
  for (int64_t r : repeats) WEFT_CHECK(r >= 0, "repeat: negative repeat in {}", repeats);
  Tensor x = *this;
  while (x.dim() < repeats.size()) x = x.unsqueeze(0);
  Dims sizes = x.sizes();
  int more = 0;
  for (int d = 0; d < sizes.size(); ++d) {
    more += repeats[d] != 1;
    sizes[d] *= repeats[d];
  }
  checked_numel(sizes, "repeat");
  if (more == 0) return x.clone();
  if (x.dim() + more <= kMaxDims) {  // all at once
    Dims wide;
    for (int d = 0, at = 0; d < sizes.size(); ++d, ++at) {
      if (repeats[d] != 1) {
        x = x.unsqueeze(at++);
        wide.push_back(repeats[d]);
      }
      wide.push_back(x.sizes()[at]);
    }
    return x.expand(wide).clone(MemoryFormat::contiguous).view(sizes);
  }
  for (int d = sizes.size() - 1; d >= 0; --d)
    if (repeats[d] != 1) x = cat(std::vector<Tensor>(static_cast<size_t>(repeats[d]), x), d);
  return x;
}
Tensor Tensor::tile(const Dims& repeats) const {
  Dims all = repeats;
  while (all.size() < dim()) all.insert(0, 1);
  return repeat(all);
}
Tensor repeat(const Tensor& x, const Dims& repeats) { return x.repeat(repeats); }
Tensor tile(const Tensor& x, const Dims& repeats) { return x.tile(repeats); }

Tensor repeat_interleave(const Tensor& given, int64_t repeats, std::optional<int64_t> dim) {
  WEFT_CHECK(repeats >= 0, "repeat_interleave: negative repeats {}", repeats);
  Tensor x = dim ? given : given.reshape({-1});
  int d = dim ? wrap_dim(*dim, x.dim(), "repeat_interleave") : 0;
  if (x.dim() == 0) x = x.unsqueeze(0);
  Tensor wide = x.unsqueeze(d + 1);
  Dims sizes = wide.sizes();
  sizes[d + 1] = repeats;
  return wide.expand(sizes).clone(MemoryFormat::contiguous).flatten(d, d + 1);
}
Tensor repeat_interleave(const Tensor& given, const Tensor& repeats, std::optional<int64_t> dim) {
  WEFT_CHECK_TYPE(is_integral(repeats.dtype()) && repeats.dim() <= 1,
                  "repeat_interleave: repeats must be integers of one dimension, got {}", repeats);
  const detail::HostRead read("repeat_interleave: the number of results depends on values");
  if (repeats.numel() == 1) return repeat_interleave(given, repeats.item<int64_t>(), dim);
  Tensor x = dim ? given : given.reshape({-1});
  int d = dim ? wrap_dim(*dim, x.dim(), "repeat_interleave") : 0;
  WEFT_CHECK(repeats.numel() == x.size(d), "repeat_interleave: {} repeats for {} elements", repeats.numel(), x.size(d));
  Tensor counts = repeats.to(Device(), DType::i64).contiguous();
  std::vector<int64_t> at;
  for (int64_t i = 0; i < counts.numel(); ++i) {
    int64_t n = detail::host_data<int64_t>(counts)[i];
    WEFT_CHECK(n >= 0, "repeat_interleave: negative repeats {}", n);
    at.insert(at.end(), static_cast<size_t>(n), i);
  }
  return x.index_select(d, tensor(at, {.device = x.device()}));
}

// ---- moving

Tensor Tensor::flip(const Dims& given) const {
  Dims dims;
  for (int64_t d : given) {
    int at = wrap_dim(d, dim(), "flip");
    WEFT_CHECK(!dims.contains(at), "flip: dim {} appears twice in {}", at, given);
    dims.push_back(at);
  }
  const Tensor in[1] = {*this};
  Tensor out = empty_like(*this);
  dispatch(FlipOp::record, in, out, FlipOp::Attrs{dims});
  return out;
}
Tensor flip(const Tensor& x, const Dims& dims) { return x.flip(dims); }

Tensor Tensor::roll(const Dims& shifts, const Dims& dims) const {
  WEFT_CHECK(!shifts.empty(), "roll: needs at least one shift");
  if (dims.empty()) {
    WEFT_CHECK(shifts.size() == 1, "roll: {} shifts without dims; give one", shifts.size());
    return reshape({-1}).roll(shifts, {0}).view(sizes());
  }
  WEFT_CHECK(shifts.size() == dims.size(), "roll: {} shifts for {} dims", shifts.size(), dims.size());
  Tensor x = *this;
  for (int i = 0; i < dims.size(); ++i) {
    WEFT_CHECK_INDEX(dim() > 0, "roll: a 0-dim tensor has no dimension {}", dims[i]);
    int d = wrap_dim(dims[i], dim(), "roll");
    int64_t n = sizes()[d];
    if (n == 0) continue;
    int64_t shift = (shifts[i] % n + n) % n;
    if (shift != 0) x = cat({x.slice(d, n - shift), x.slice(d, 0, n - shift)}, d);
  }
  return x.is_same(*this) ? clone() : x;
}
Tensor roll(const Tensor& x, const Dims& shifts, const Dims& dims) { return x.roll(shifts, dims); }

namespace {
Tensor triangle(const Tensor& x, int64_t diagonal, bool upper, const char* op) {
  WEFT_CHECK(x.dim() >= 2, "{}: needs at least 2 dimensions, got {}", op, x);
  const Tensor in[1] = {x.contiguous()};
  Tensor out = detail::allocate(x.sizes(), x.dtype(), x.device());
  dispatch(TriangleOp::record, in, out, TriangleOp::Attrs{diagonal, upper});
  return out;
}
}  // namespace
Tensor Tensor::tril(int64_t diagonal) const { return triangle(*this, diagonal, false, "tril"); }
Tensor Tensor::triu(int64_t diagonal) const { return triangle(*this, diagonal, true, "triu"); }
Tensor tril(const Tensor& x, int64_t diagonal) { return x.tril(diagonal); }
Tensor triu(const Tensor& x, int64_t diagonal) { return x.triu(diagonal); }

Tensor diag_embed(const Tensor& x, int64_t offset, int64_t dim1, int64_t dim2) {
  WEFT_CHECK(x.dim() >= 1, "diag_embed: a 0-dim tensor has no diagonal");
  int a = wrap_dim(dim1, x.dim() + 1, "diag_embed"), b = wrap_dim(dim2, x.dim() + 1, "diag_embed");
  WEFT_CHECK(a != b, "diag_embed: dim1 and dim2 are both {}", a);
  int64_t n = x.sizes().back() + std::abs(offset);
  Dims sizes;
  for (int d = 0, at = 0; d <= x.dim(); ++d) sizes.push_back(d == a || d == b ? n : x.sizes()[at++]);
  Tensor out = zeros(sizes, {.dtype = x.dtype(), .device = x.device()});
  out.diagonal(offset, a, b).copy_(x);
  return out;
}
Tensor diag(const Tensor& x, int64_t diagonal) {
  WEFT_CHECK(x.dim() == 1 || x.dim() == 2, "diag: needs a vector or a matrix, got {}", x);
  return x.dim() == 1 ? diag_embed(x, diagonal) : x.diagonal(diagonal).clone();
}

std::vector<Tensor> meshgrid(const std::vector<Tensor>& tensors, std::string_view indexing) {
  WEFT_CHECK(!tensors.empty(), "meshgrid: needs at least one tensor");
  WEFT_CHECK(indexing == "ij" || indexing == "xy", "meshgrid: indexing must be \"ij\" or \"xy\", got \"{}\"", indexing);
  const bool swap = indexing == "xy" && tensors.size() >= 2;
  Dims sizes;
  for (const Tensor& t : tensors) {
    WEFT_CHECK(t.defined() && t.dim() <= 1, "meshgrid: needs vectors");
    sizes.push_back(t.numel());
  }
  if (swap) std::swap(sizes[0], sizes[1]);
  std::vector<Tensor> out;
  for (size_t i = 0; i < tensors.size(); ++i) {
    Dims shape = Dims::filled(sizes.size(), 1);
    shape[static_cast<int>(swap && i < 2 ? 1 - i : i)] = tensors[i].numel();
    out.push_back(tensors[i].reshape(shape).expand(sizes));
  }
  return out;
}

// ---- of torch.nn.functional

namespace {

// Which element of a dimension of size n stands at position i - before.
int64_t padded_place(std::string_view mode, int64_t i, int64_t n) {
  if (mode == "replicate") return std::clamp<int64_t>(i, 0, n - 1);
  if (mode == "circular") return (i % n + n) % n;
  return i < 0 ? -i : i >= n ? 2 * (n - 1) - i : i;
}

Tensor pad_constant(const Tensor& x, const std::vector<int64_t>& pad, Scalar value) {
  const int count = static_cast<int>(pad.size() / 2);
  WEFT_CHECK(count <= x.dim(), "pad: {} amounts for {}", pad.size(), x);
  Dims sizes = x.sizes();
  Tensor from = x;
  for (int i = 0; i < count; ++i) {
    const int d = x.dim() - 1 - i;
    const int64_t before = pad[static_cast<size_t>(2 * i)], after = pad[static_cast<size_t>(2 * i + 1)];
    sizes[d] += before + after;
    WEFT_CHECK(sizes[d] >= 0, "pad: ({}, {}) leaves no room in dim {} of {}", before, after, d, x);
    const int64_t cut = std::max<int64_t>(0, -before), left = x.sizes()[d] - cut - std::max<int64_t>(0, -after);
    from = left > 0 ? from.narrow(d, cut, left) : from.narrow(d, 0, 0);
  }
  Tensor out = full(sizes, value, {.dtype = x.dtype(), .device = x.device()});
  Tensor to = out;
  for (int i = 0; i < count; ++i) {
    const int d = x.dim() - 1 - i;
    to = to.narrow(d, std::min(std::max<int64_t>(0, pad[static_cast<size_t>(2 * i)]), sizes[d]), from.sizes()[d]);
  }
  to.copy_(from);
  return out;
}

}  // namespace

Tensor pad(const Tensor& x, const std::vector<int64_t>& pad, std::string_view mode, Scalar value) {
  WEFT_CHECK(x.defined() && pad.size() % 2 == 0, "pad: needs two amounts per dimension, got {}", pad.size());
  if (mode == "constant") return pad_constant(x, pad, value);
  WEFT_CHECK(mode == "reflect" || mode == "replicate" || mode == "circular",
             "pad: mode must be \"constant\", \"reflect\", \"replicate\" or \"circular\", got \"{}\"", mode);
  const int count = static_cast<int>(pad.size() / 2);
  WEFT_CHECK(count >= 1 && count <= 3 && (x.dim() == count + 1 || x.dim() == count + 2),
             "pad: mode \"{}\" with {} amounts needs {} or {} dimensions, got {}", mode, pad.size(), count + 1,
             count + 2, x);
  Tensor out = x;
  for (int i = 0; i < count; ++i) {
    const int d = x.dim() - 1 - i;
    const int64_t before = pad[static_cast<size_t>(2 * i)], after = pad[static_cast<size_t>(2 * i + 1)],
                  n = x.sizes()[d], most = std::max(before, after);
    WEFT_CHECK(mode != "reflect" || most < n, "pad: reflect needs amounts smaller than dim {} of {}, got ({}, {})", d,
               x, before, after);
    WEFT_CHECK(mode != "circular" || most <= n, "pad: circular needs amounts no larger than dim {} of {}, got ({}, {})",
               d, x, before, after);
    WEFT_CHECK(n > 0 && n + before + after >= 0, "pad: ({}, {}) does not fit dim {} of {}", before, after, d, x);
    if (before == 0 && after == 0) continue;
    std::vector<int64_t> at;
    for (int64_t k = -before; k < n + after; ++k) at.push_back(padded_place(mode, k, n));
    out = out.index_select(d, tensor(at, {.device = x.device()}));
  }
  return out.is_same(x) ? x.clone() : out;
}

Tensor glu(const Tensor& x, int64_t dim) {
  WEFT_CHECK(x.dim() > 0, "glu: a 0-dim tensor cannot be halved");
  int d = wrap_dim(dim, x.dim(), "glu");
  int64_t n = x.sizes()[d];
  WEFT_CHECK(n % 2 == 0, "glu: dim {} of {} must be even", d, x);
  return x.narrow(d, 0, n / 2).mul(x.narrow(d, n / 2, n / 2).sigmoid());
}

Tensor one_hot(const Tensor& x, int64_t classes) {
  WEFT_CHECK_TYPE(x.dtype() == DType::i64, "one_hot: needs i64 classes, got {}", x);
  WEFT_CHECK(x.numel() > 0 || classes > 0, "one_hot: give the number of classes for an empty tensor");
  if (x.numel() > 0) {
    const detail::HostRead read("one_hot: classes are counted, and checked, by their values");
    int64_t low = x.min().item<int64_t>(), high = x.max().item<int64_t>();
    WEFT_CHECK_INDEX(low >= 0, "one_hot: class {} is negative", low);
    if (classes == -1) classes = high + 1;
    WEFT_CHECK_INDEX(high < classes, "one_hot: class {} is not below the number of classes {}", high, classes);
  }
  Dims sizes = x.sizes();
  sizes.push_back(classes);
  return zeros(sizes, {.dtype = DType::i64, .device = x.device()}).scatter_(-1, x.unsqueeze(-1), 1);
}

}  // namespace weft
