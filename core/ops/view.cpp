#include "core/ops/view.h"

#include <algorithm>

#include "core/error.h"
#include "core/thread_state.h"

namespace weft {

const OpRecord ViewOp::record{.name = "view", .rule = rules::view};
const OpRecord ExpandOp::record{.name = "expand", .rule = rules::expand};
const OpRecord PermuteOp::record{.name = "permute", .rule = rules::permute};
const OpRecord SliceOp::record{.name = "slice", .rule = rules::slice};
const OpRecord SplitOp::record{.name = "split", .rule = rules::split};
const OpRecord DiagonalOp::record{.name = "diagonal", .rule = rules::diagonal};
const OpRecord AsStridedOp::record{.name = "as_strided", .rule = rules::as_strided};
const OpRecord UnfoldOp::record{.name = "unfold", .rule = rules::unfold};

Dims infer_size(const Dims& sizes, int64_t numel, const char* op) {
  Dims out = sizes;
  int unknown = -1;
  int64_t known = 1;
  for (int i = 0; i < out.size(); ++i) {
    if (out[i] == -1) {
      WEFT_CHECK(unknown < 0, "{}: only one size may be -1, got {}", op, sizes);
      unknown = i;
    } else {
      WEFT_CHECK(out[i] >= 0, "{}: negative size in {}", op, sizes);
      WEFT_CHECK(!__builtin_mul_overflow(known, out[i], &known), "{}: {} has more than 2^63 elements", op, sizes);
    }
  }
  if (unknown >= 0) {
    WEFT_CHECK(known > 0 && numel % known == 0, "{}: {} elements do not fill {}", op, numel, sizes);
    out[unknown] = numel / known;
  } else {
    WEFT_CHECK(known == numel, "{}: {} elements do not fill {}", op, numel, sizes);
  }
  return out;
}

namespace {

// Strides under which `sizes` shows the same elements in the same order without a copy; false when there are none.
bool view_strides(const Tensor& x, const Dims& sizes, Dims& out) {
  if (x.numel() == 0 || x.is_contiguous()) {
    out = x.numel() == 0 && sizes == x.sizes() ? x.strides() : contiguous_strides(sizes);
    return true;
  }
  out.resize(sizes.size());
  int v = sizes.size() - 1;
  const Dims& s = x.sizes();
  const Dims& st = x.strides();
  int64_t chunk_stride = st.empty() ? 1 : st.back(), chunk = 1, viewed = 1;
  for (int d = s.size() - 1; d >= 0; --d) {
    chunk *= s[d];
    // The end of a run of mergeable dimensions: fill it with dimensions of the view.
    if (d == 0 || (s[d - 1] != 1 && st[d - 1] != chunk * chunk_stride)) {
      while (v >= 0 && (viewed < chunk || sizes[v] == 1)) {
        out[v] = viewed * chunk_stride;
        viewed *= sizes[v];
        --v;
      }
      if (viewed != chunk) return false;
      if (d > 0) {
        chunk_stride = st[d - 1];
        chunk = viewed = 1;
      }
    }
  }
  return v == -1;
}

Tensor view_of(const Tensor& x, const Dims& sizes, const Dims& strides) {
  return dispatch_view(ViewOp::record, x, sizes, strides, x.storage_offset(), ViewOp::Attrs{x.sizes()});
}

}  // namespace

Tensor Tensor::view(const Dims& sizes) const {
  Dims to = infer_size(sizes, numel(), "view"), strides;
  WEFT_CHECK(view_strides(*this, to, strides),
             "view: {} with strides {} cannot be seen as {} without a copy; use reshape()", *this, this->strides(), to);
  return view_of(*this, to, strides);
}
Tensor Tensor::view_as(const Tensor& o) const {
  return is_same(o) ? view_of(*this, sizes(), strides()) : view(o.sizes());
}
Tensor Tensor::reshape(const Dims& sizes) const {
  Dims to = infer_size(sizes, numel(), "reshape"), strides;
  return view_strides(*this, to, strides) ? view_of(*this, to, strides) : clone(MemoryFormat::contiguous).view(to);
}
Tensor Tensor::reshape_as(const Tensor& o) const { return reshape(o.sizes()); }
Tensor Tensor::ravel() const { return contiguous().view({-1}); }

Tensor Tensor::permute(const Dims& dims) const {
  WEFT_CHECK(dims.size() == dim(), "permute: {} dims for {}", dims.size(), *this);
  PermuteOp::Attrs a;
  Dims to, strides;
  bool seen[kMaxDims] = {};
  for (int64_t given : dims) {
    int d = wrap_dim(given, dim(), "permute");
    WEFT_CHECK(!seen[d], "permute: dim {} appears twice in {}", d, dims);
    seen[d] = true;
    a.dims.push_back(d);
    to.push_back(sizes()[d]);
    strides.push_back(this->strides()[d]);
  }
  return dispatch_view(PermuteOp::record, *this, to, strides, storage_offset(), a);
}
Tensor Tensor::transpose(int64_t a, int64_t b) const {
  int i = wrap_dim(a, dim(), "transpose"), j = wrap_dim(b, dim(), "transpose");
  Dims order;
  for (int d = 0; d < dim(); ++d) order.push_back(d);
  if (dim() > 0) std::swap(order[i], order[j]);
  return permute(order);
}
Tensor Tensor::swapaxes(int64_t a, int64_t b) const { return transpose(a, b); }
Tensor Tensor::t() const {
  WEFT_CHECK(dim() <= 2, "t: needs at most 2 dimensions, got {}; use transpose()", *this);
  return dim() < 2 ? view_as(*this) : transpose(0, 1);
}
Tensor Tensor::movedim(const Dims& from, const Dims& to) const {
  WEFT_CHECK(from.size() == to.size(), "movedim: {} source and {} destination dims", from.size(), to.size());
  int order[kMaxDims];
  bool used[kMaxDims] = {};
  std::fill(order, order + kMaxDims, -1);
  for (int i = 0; i < from.size(); ++i) {
    int s = wrap_dim(from[i], dim(), "movedim"), d = wrap_dim(to[i], dim(), "movedim");
    WEFT_CHECK(!used[s] && order[d] < 0, "movedim: a dim appears twice in {} or {}", from, to);
    if (dim() == 0) return view_as(*this);
    used[s] = true;
    order[d] = s;
  }
  Dims dims;
  for (int d = 0, next = 0; d < dim(); ++d) {
    if (order[d] < 0) {
      while (used[next]) ++next;
      order[d] = next++;
    }
    dims.push_back(order[d]);
  }
  return permute(dims);
}

Tensor Tensor::expand(const Dims& given) const {
  WEFT_CHECK(given.size() >= dim(), "expand: {} cannot have fewer dimensions ({})", *this, given);
  Dims to = given, strides;
  strides.resize(to.size());
  int lead = to.size() - dim();
  for (int i = to.size() - 1; i >= 0; --i) {
    if (i < lead) WEFT_CHECK(to[i] >= 0, "expand: a new dimension needs a size >= 0, got {}", given);
    int64_t s = i < lead ? 1 : sizes()[i - lead];
    int64_t step = dim() == 0          ? 0
                   : i >= lead         ? this->strides()[i - lead]
                   : i + 1 < to.size() ? to[i + 1] * strides[i + 1]
                                       : 1;
    if (to[i] == -1) to[i] = s;
    WEFT_CHECK(to[i] == s || (s == 1 && to[i] >= 0), "expand: {} does not expand to {}; only sizes of 1 can grow",
               *this, given);
    strides[i] = to[i] == s ? step : 0;
  }
  checked_numel(to, "expand");
  return dispatch_view(ExpandOp::record, *this, to, strides, storage_offset(), NoAttrs{});
}
Tensor Tensor::expand_as(const Tensor& o) const { return expand(o.sizes()); }
Tensor Tensor::broadcast_to(const Dims& sizes) const { return expand(sizes); }

Tensor Tensor::squeeze() const {
  Dims to, strides;
  for (int i = 0; i < dim(); ++i)
    if (sizes()[i] != 1) to.push_back(sizes()[i]), strides.push_back(this->strides()[i]);
  return view_of(*this, to, strides);
}
Tensor Tensor::squeeze(const DimList& dims) const {
  if (dims.all) return squeeze();
  bool drop[kMaxDims] = {};
  for (int64_t d : dims.dims) {
    int i = wrap_dim(d, dim(), "squeeze");
    WEFT_CHECK(!drop[i] || dims.dims.size() == 1, "squeeze: dim {} appears twice", i);
    drop[i] = true;
  }
  Dims to, strides;
  for (int i = 0; i < dim(); ++i)
    if (!(drop[i] && sizes()[i] == 1)) to.push_back(sizes()[i]), strides.push_back(this->strides()[i]);
  return view_of(*this, to, strides);
}
Tensor Tensor::unsqueeze(int64_t d) const {
  int at = wrap_dim(d, dim() + 1, "unsqueeze");
  Dims to = sizes(), strides = this->strides();
  int64_t step = at < dim() ? to[at] * strides[at] : 1;
  to.insert(at, 1);
  strides.insert(at, step);
  return view_of(*this, to, strides);
}
Tensor Tensor::flatten(int64_t start, int64_t end) const {
  int a = wrap_dim(start, dim(), "flatten"), b = wrap_dim(end, dim(), "flatten");
  WEFT_CHECK(a <= b, "flatten: start dim {} comes after end dim {}", start, end);
  if (dim() == 0) return reshape({1});
  if (a == b) return *this;
  Dims to;
  int64_t n = 1;
  for (int i = a; i <= b; ++i) n *= sizes()[i];
  for (int i = 0; i < a; ++i) to.push_back(sizes()[i]);
  to.push_back(n);
  for (int i = b + 1; i < dim(); ++i) to.push_back(sizes()[i]);
  return reshape(to);
}
Tensor Tensor::unflatten(int64_t d, const Dims& given) const {
  int at = wrap_dim(d, dim(), "unflatten");
  WEFT_CHECK(!given.empty(), "unflatten: needs at least one size");
  WEFT_CHECK(dim() > 0, "unflatten: a 0-dim tensor has no dimension to split");
  Dims inner = infer_size(given, sizes()[at], "unflatten"), to;
  for (int i = 0; i < at; ++i) to.push_back(sizes()[i]);
  for (int64_t s : inner) to.push_back(s);
  for (int i = at + 1; i < dim(); ++i) to.push_back(sizes()[i]);
  return view(to);
}

Tensor Tensor::select(int64_t d, int64_t index) const {
  WEFT_CHECK_INDEX(dim() > 0, "select: a 0-dim tensor has no elements to select");
  int at = wrap_dim(d, dim(), "select");
  int64_t n = sizes()[at];
  WEFT_CHECK_INDEX(index >= -n && index < n, "select: index {} out of range for dim {} of {}", index, at, *this);
  int64_t i = index < 0 ? index + n : index;
  Dims to = sizes(), strides = this->strides();
  to.erase(at);
  strides.erase(at);
  return dispatch_view(SliceOp::record, *this, to, strides, storage_offset() + i * this->strides()[at],
                       SliceOp::Attrs{sizes(), at, i, 1, 1, true});
}
Tensor Tensor::slice(int64_t d, std::optional<int64_t> start, std::optional<int64_t> end, int64_t step) const {
  WEFT_CHECK(dim() > 0, "slice: a 0-dim tensor cannot be sliced");
  WEFT_CHECK(step > 0, "slice: step must be positive, got {}", step);
  int at = wrap_dim(d, dim(), "slice");
  int64_t n = sizes()[at];
  auto bound = [n](int64_t i) { return std::clamp<int64_t>(i < 0 ? i + n : i, 0, n); };
  int64_t a = bound(start.value_or(0)), b = std::max(a, bound(end.value_or(n)));
  int64_t length = (b - a + step - 1) / step;
  Dims to = sizes(), strides = this->strides();
  to[at] = length;
  strides[at] *= step;
  return dispatch_view(SliceOp::record, *this, to, strides, storage_offset() + a * this->strides()[at],
                       SliceOp::Attrs{sizes(), at, a, step, length, false});
}
Tensor Tensor::narrow(int64_t d, int64_t start, int64_t length) const {
  WEFT_CHECK(dim() > 0, "narrow: a 0-dim tensor cannot be narrowed");
  int at = wrap_dim(d, dim(), "narrow");
  int64_t n = sizes()[at];
  WEFT_CHECK(length >= 0, "narrow: length must not be negative, got {}", length);
  WEFT_CHECK_INDEX(start >= -n && start <= n, "narrow: start {} out of range for dim {} of {}", start, at, *this);
  int64_t a = start < 0 ? start + n : start;
  WEFT_CHECK(a + length <= n, "narrow: {} + {} exceeds dim {} of {}", a, length, at, *this);
  return slice(at, a, a + length);
}
Tensor Tensor::diagonal(int64_t offset, int64_t dim1, int64_t dim2) const {
  WEFT_CHECK(dim() >= 2, "diagonal: needs at least 2 dimensions, got {}", *this);
  int i = wrap_dim(dim1, dim(), "diagonal"), j = wrap_dim(dim2, dim(), "diagonal");
  WEFT_CHECK(i != j, "diagonal: dim1 and dim2 are both {}", i);
  int64_t rows = sizes()[i], cols = sizes()[j];
  int64_t n = std::max<int64_t>(0, offset >= 0 ? std::min(rows, cols - offset) : std::min(rows + offset, cols));
  int64_t at = storage_offset();
  if (n > 0) at += offset >= 0 ? offset * strides()[j] : -offset * strides()[i];
  Dims to, strides;
  for (int d = 0; d < dim(); ++d)
    if (d != i && d != j) to.push_back(sizes()[d]), strides.push_back(this->strides()[d]);
  to.push_back(n);
  strides.push_back(this->strides()[i] + this->strides()[j]);
  return dispatch_view(DiagonalOp::record, *this, to, strides, at, DiagonalOp::Attrs{sizes(), offset, i, j});
}
Tensor Tensor::as_strided(const Dims& to, const Dims& strides, std::optional<int64_t> offset) const {
  int64_t at = offset.value_or(storage_offset());
  WEFT_CHECK(to.size() == strides.size(), "as_strided: {} sizes and {} strides", to.size(), strides.size());
  WEFT_CHECK(at >= 0, "as_strided: negative offset {}", at);
  int64_t n = checked_numel(to, "as_strided"), last = at;
  for (int i = 0; i < to.size(); ++i) {
    WEFT_CHECK(strides[i] >= 0, "as_strided: negative stride in {}", strides);
    int64_t step = 0;
    WEFT_CHECK(!__builtin_mul_overflow(std::max<int64_t>(to[i] - 1, 0), strides[i], &step) &&
                   !__builtin_add_overflow(last, step, &last),
               "as_strided: {} with strides {} overflows", to, strides);
  }
  WEFT_CHECK(n == 0 || static_cast<size_t>(last) < impl_->storage->bytes / itemsize(dtype()),
             "as_strided: {} with strides {} and offset {} leaves the memory of {}", to, strides, at, *this);
  return dispatch_view(AsStridedOp::record, *this, to, strides, at,
                       AsStridedOp::Attrs{sizes(), this->strides(), storage_offset(), to, strides, at});
}
Tensor Tensor::unfold(int64_t d, int64_t size, int64_t step) const {
  int at = wrap_dim(d, dim(), "unfold");
  int64_t n = dim() == 0 ? 1 : sizes()[at];
  WEFT_CHECK(size >= 0 && size <= n, "unfold: size {} for a dimension of {}", size, n);
  WEFT_CHECK(step > 0, "unfold: step must be positive, got {}", step);
  Dims to = sizes(), strides = this->strides();
  int64_t s = dim() == 0 ? 1 : strides[at];
  if (dim() > 0) {
    to[at] = (n - size) / step + 1;
    strides[at] = s * step;
  }
  to.push_back(size);
  strides.push_back(s);
  return dispatch_view(UnfoldOp::record, *this, to, strides, storage_offset(),
                       UnfoldOp::Attrs{sizes(), at, size, step});
}

namespace {
// Views of the parts of dimension `at`, which add up to all of it. They have one history together; PyTorch lets none of
// them be changed in place once there is one.
std::vector<Tensor> take_apart(const Tensor& x, int at, const std::vector<int64_t>& lengths, bool drop = false) {
  std::vector<Tensor> parts;
  parts.reserve(lengths.size());
  Dims to = x.sizes(), strides = x.strides();
  if (drop) {
    to.erase(at);
    strides.erase(at);
  }
  int64_t start = 0;
  if (lengths.size() > size_t{detail::kMostParts}) {  // too many for one node: a history each
    for (int64_t length : lengths) {
      parts.push_back(drop ? x.select(at, start) : x.narrow(at, start, length));
      if (is_grad_enabled()) parts.back().impl()->view_kind = ViewKind::one_of_many;
      start += length;
    }
    return parts;
  }
  for (int64_t length : lengths) {
    if (!drop) to[at] = length;
    parts.push_back(detail::alias(x, to, strides, x.storage_offset() + start * x.strides()[at]));
    start += length;
  }
  const SplitOp::Attrs attrs{at, drop};
  detail::dispatch_views(SplitOp::record, x, parts.data(), static_cast<int>(parts.size()), &attrs, sizeof attrs);
  return parts;
}
}  // namespace

std::vector<Tensor> Tensor::split(int64_t size, int64_t d) const {
  WEFT_CHECK(dim() > 0, "split: a 0-dim tensor cannot be split");
  WEFT_CHECK(size >= 0, "split: size must not be negative, got {}", size);
  int at = wrap_dim(d, dim(), "split");
  int64_t n = sizes()[at];
  WEFT_CHECK(size > 0 || n == 0, "split: size 0 for a dimension of {}", n);
  std::vector<int64_t> lengths;
  if (n == 0) lengths.push_back(0);
  for (int64_t i = 0; i < n; i += size) lengths.push_back(std::min(n - i, size));
  return take_apart(*this, at, lengths);
}
std::vector<Tensor> Tensor::split(const std::vector<int64_t>& lengths, int64_t d) const {
  WEFT_CHECK(dim() > 0, "split: a 0-dim tensor cannot be split");
  int at = wrap_dim(d, dim(), "split");
  int64_t sum = 0;
  for (int64_t l : lengths) {
    WEFT_CHECK(l >= 0, "split: negative length {}", l);
    sum += l;
  }
  WEFT_CHECK(sum == sizes()[at], "split: lengths add up to {}, dim {} of {} has {}", sum, at, *this, sizes()[at]);
  return take_apart(*this, at, lengths);
}
std::vector<Tensor> Tensor::chunk(int64_t chunks, int64_t d) const {
  WEFT_CHECK(dim() > 0, "chunk: a 0-dim tensor cannot be split");
  WEFT_CHECK(chunks > 0, "chunk: needs at least one chunk, got {}", chunks);
  int at = wrap_dim(d, dim(), "chunk");
  int64_t n = sizes()[at], size = (n + chunks - 1) / chunks;
  if (size == 0) return take_apart(*this, at, std::vector<int64_t>(static_cast<size_t>(chunks), 0));
  return split(size, at);
}
std::vector<Tensor> Tensor::unbind(int64_t d) const {
  WEFT_CHECK(dim() > 0, "unbind: a 0-dim tensor has no dimension to take apart");
  int at = wrap_dim(d, dim(), "unbind");
  return take_apart(*this, at, std::vector<int64_t>(static_cast<size_t>(sizes()[at]), 1), true);
}

Tensor reshape(const Tensor& x, const Dims& sizes) { return x.reshape(sizes); }
Tensor permute(const Tensor& x, const Dims& dims) { return x.permute(dims); }
Tensor transpose(const Tensor& x, int64_t a, int64_t b) { return x.transpose(a, b); }
Tensor t(const Tensor& x) { return x.t(); }
Tensor squeeze(const Tensor& x) { return x.squeeze(); }
Tensor squeeze(const Tensor& x, const DimList& dims) { return x.squeeze(dims); }
Tensor unsqueeze(const Tensor& x, int64_t dim) { return x.unsqueeze(dim); }
Tensor flatten(const Tensor& x, int64_t start, int64_t end) { return x.flatten(start, end); }
Tensor narrow(const Tensor& x, int64_t dim, int64_t start, int64_t length) { return x.narrow(dim, start, length); }
Tensor select(const Tensor& x, int64_t dim, int64_t index) { return x.select(dim, index); }
Tensor diagonal(const Tensor& x, int64_t offset, int64_t dim1, int64_t dim2) { return x.diagonal(offset, dim1, dim2); }
Tensor movedim(const Tensor& x, const Dims& from, const Dims& to) { return x.movedim(from, to); }
Tensor broadcast_to(const Tensor& x, const Dims& sizes) { return x.expand(sizes); }
std::vector<Tensor> broadcast_tensors(const std::vector<Tensor>& tensors) {
  Dims shape;
  for (const Tensor& x : tensors) shape = broadcast_shapes(shape, x.sizes(), "broadcast_tensors");
  std::vector<Tensor> out;
  for (const Tensor& x : tensors) out.push_back(x.expand(shape));
  return out;
}
std::vector<Tensor> split(const Tensor& x, int64_t size, int64_t dim) { return x.split(size, dim); }
std::vector<Tensor> split(const Tensor& x, const std::vector<int64_t>& sizes, int64_t dim) {
  return x.split(sizes, dim);
}
std::vector<Tensor> chunk(const Tensor& x, int64_t chunks, int64_t dim) { return x.chunk(chunks, dim); }
std::vector<Tensor> unbind(const Tensor& x, int64_t dim) { return x.unbind(dim); }

}  // namespace weft
