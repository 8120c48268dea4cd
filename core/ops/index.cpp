#include "core/ops/index.h"

#include <algorithm>

#include "core/autocast.h"
#include "core/error.h"
#include "core/host_read.h"
#include "core/ops/pointwise_api.h"
#include "core/thread_state.h"

namespace weft {

const OpRecord LinearIndexOp::record{.name = "linear_index", .cpu = cpu::linear_index};
const OpRecord IndexOp::record{.name = "index", .save_inputs = 0b10, .cpu = cpu::index, .rule = rules::index};
const OpRecord IndexPutOp::record{
    .name = "index_put", .save_inputs = 0b10, .cpu = cpu::index_put, .rule = rules::index_put};
const OpRecord NonzeroOp::record{.name = "nonzero", .cpu = cpu::nonzero};
const OpRecord CountElementsOp::record{.name = "nonzero", .cpu = cpu::count_nonzero_elements};

namespace detail {
namespace {

// Sizes with [first, first + count) replaced.
Dims replace(const Dims& sizes, int first, int count, const Dims& by) {
  Dims out;
  for (int i = 0; i < first; ++i) out.push_back(sizes[i]);
  for (int64_t s : by) out.push_back(s);
  for (int i = first + count; i < sizes.size(); ++i) out.push_back(sizes[i]);
  return out;
}
// The dimensions can be walked with one stride.
bool one_run(const Tensor& t, int from, int to) {
  int64_t expected = -1;
  for (int d = to - 1; d >= from; --d) {
    if (t.sizes()[d] == 1) continue;
    if (expected >= 0 && t.strides()[d] != expected) return false;
    expected = t.strides()[d] * t.sizes()[d];
  }
  return true;
}

}  // namespace

Tensor linear_index(const std::vector<Tensor>& indices, const Dims& extents, bool wrap, const char* caller, int dim) {
  Dims shape;
  for (const Tensor& t : indices) {
    WEFT_CHECK(t.defined(), "{}: an index is an undefined tensor", caller);
    WEFT_CHECK_TYPE(is_integral(t.dtype()) && t.dtype() != DType::u8, "{}: indices must be integers (i64), got {}",
                    caller, t);
    shape = broadcast_shapes(shape, t.sizes(), caller);
  }
  Tensor out = allocate(shape, DType::i64, indices[0].device());
  const LinearIndexOp::Attrs attrs{extents, wrap, caller, dim};
  weft::dispatch(LinearIndexOp::record, indices, {&out, 1}, attrs);
  return out;
}

Tensor index_linear(const Tensor& x, const Tensor& linear, int first, int count) {
  Tensor out = allocate(replace(x.sizes(), first, count, linear.sizes()), x.dtype(), x.device());
  const Tensor in[2] = {x, linear};
  weft::dispatch(IndexOp::record, in, out, IndexOp::Attrs{x.sizes(), first, count});
  return out;
}

void index_put_linear(Tensor& self, const Tensor& linear, const Tensor& values, int first, int count, bool accumulate,
                      Scalar alpha) {
  Dims shape = replace(self.sizes(), first, count, linear.sizes());
  WEFT_CHECK(broadcast_shapes(shape, values.sizes(), "index_put") == shape,
             "index_put: values {} do not broadcast to the indexed part {}", values, shape);
  Tensor v = values.dtype() == self.dtype() ? values : values.to(self.dtype());
  if (v.dim() == 0 && v.device().is_cpu() && self.device().is_cuda()) v = v.to(self.device());  // a number
  v = v.sizes() == shape ? v : v.expand(shape);
  if (!one_run(v, first, first + linear.dim())) v = v.contiguous();
  if (v.shares_storage_with(self)) v = v.clone(MemoryFormat::contiguous);
  const Tensor in[3] = {self, linear, v};
  weft::dispatch_inplace(IndexPutOp::record, self, in, IndexPutOp::Attrs{first, count, accumulate, alpha});
}

Tensor flat_nonzero(const Tensor& given) {
  NoGrad guard;
  const Tensor in[1] = {given.contiguous()};
  Tensor count = allocate({}, DType::i64, given.device());
  weft::dispatch(CountElementsOp::record, in, count, NoAttrs{});
  const HostRead read("nonzero, masks: the number of results depends on values");
  Tensor out = allocate({count.item<int64_t>()}, DType::i64, given.device());
  weft::dispatch(NonzeroOp::record, in, out, NoAttrs{});
  return out;
}

}  // namespace detail

namespace {

bool is_mask(const Tensor& t) { return t.dtype() == DType::bool_ || t.dtype() == DType::u8; }

// What is left of an index after views have taken care of everything but tensors.
struct Prepared {
  Tensor x;       // a view of the indexed tensor
  Tensor linear;  // undefined: basic indexing alone
  int first = 0, count = 0;
};

Prepared prepare(const Tensor& given, const std::vector<TensorIndex>& at, const char* caller) {
  using Kind = TensorIndex::Kind;
  WEFT_CHECK(given.defined(), "{}: undefined tensor", caller);
  int named = 0, ellipses = 0;
  for (const TensorIndex& i : at) {
    if (i.kind == Kind::ellipsis)
      ++ellipses;
    else if (i.kind == Kind::tensor) {
      WEFT_CHECK(i.tensor.defined(), "{}: an index is an undefined tensor", caller);
      named += is_mask(i.tensor) ? i.tensor.dim() : 1;
    } else if (i.kind == Kind::integer || i.kind == Kind::slice)
      ++named;
  }
  WEFT_CHECK_INDEX(ellipses <= 1, "{}: more than one ellipsis", caller);
  WEFT_CHECK_INDEX(named <= given.dim(), "{}: too many indices ({}) for {}", caller, named, given);

  Tensor x = given;
  std::vector<Tensor> tensors;
  std::vector<int> places, widths;  // of each tensor: first dimension of x, number of dimensions
  std::vector<int64_t> extents;
  int d = 0;
  auto keep = [&](const Tensor& index, int width) {
    // As in PyTorch, indices may come from the host.
    const Tensor t = index.device().is_cpu() && x.device().is_cuda() ? index.to(x.device()) : index;
    places.push_back(d);
    widths.push_back(width);
    int64_t extent = 1;
    for (int k = 0; k < width; ++k) extent *= x.sizes()[d + k];
    extents.push_back(extent);
    tensors.push_back(t);
    d += width;
  };
  for (const TensorIndex& i : at) {
    switch (i.kind) {
      case Kind::none:
        x = x.unsqueeze(d++);
        break;
      case Kind::ellipsis:
        d += given.dim() - named;
        break;
      case Kind::integer:
        x = x.select(d, i.integer);
        break;
      case Kind::slice:
        WEFT_CHECK(i.slice.step > 0, "{}: slice step must be positive, got {}", caller, i.slice.step);
        x = i.slice.start || i.slice.stop || i.slice.step != 1 ? x.slice(d, i.slice.start, i.slice.stop, i.slice.step)
                                                               : x;
        ++d;
        break;
      case Kind::boolean:
        x = x.unsqueeze(d);
        keep(i.integer ? zeros({1}, {.dtype = DType::i64, .device = DeviceType::cpu})
                       : empty({0}, {.dtype = DType::i64, .device = DeviceType::cpu}),
             1);
        break;
      case Kind::tensor: {
        const Tensor& t = i.tensor;
        if (is_mask(t)) {
          for (int k = 0; k < t.dim(); ++k)
            WEFT_CHECK_INDEX(t.sizes()[k] == x.sizes()[d + k], "{}: mask {} does not match dim {} of {}", caller, t,
                             d + k, x);
          if (t.dim() == 0) x = x.unsqueeze(d);
          keep(detail::flat_nonzero(t), std::max(t.dim(), 1));
        } else if (t.dim() == 0) {
          WEFT_CHECK_TYPE(is_integral(t.dtype()), "{}: indices must be integers, masks bool; got {}", caller, t);
          const detail::HostRead read("indexing: an index without dimensions is a number, which chooses a view");
          x = x.select(d, t.item<int64_t>());
        } else {
          WEFT_CHECK_TYPE(is_integral(t.dtype()), "{}: indices must be integers, masks bool; got {}", caller, t);
          keep(t, 1);
        }
        break;
      }
    }
  }
  Prepared p;
  p.x = x;
  if (tensors.empty()) return p;
  // Indexed dimensions that are not neighbours move to the front, and so does their result.
  bool neighbours = true;
  for (size_t k = 1; k < places.size(); ++k) neighbours &= places[k] == places[k - 1] + widths[k - 1];
  for (int w : widths) p.count += w;
  p.first = neighbours ? places[0] : 0;
  if (!neighbours) {
    Dims order;
    for (size_t k = 0; k < places.size(); ++k)
      for (int w = 0; w < widths[k]; ++w) order.push_back(places[k] + w);
    for (int k = 0; k < x.dim(); ++k)
      if (!order.contains(k)) order.push_back(k);
    p.x = x.permute(order);
  }
  if (tensors.size() == 1 && widths[0] != 1)
    p.linear = tensors[0];  // a mask: its places are in range
  else
    p.linear = detail::linear_index(tensors, extents, true, caller, places[0]);
  return p;
}

}  // namespace

Tensor Tensor::operator[](int64_t i) const { return select(0, i); }
Tensor Tensor::index(std::initializer_list<TensorIndex> at) const { return index(std::vector<TensorIndex>(at)); }
Tensor Tensor::index(const std::vector<TensorIndex>& at) const {
  Prepared p = prepare(*this, at, "index");
  if (p.linear.defined()) return detail::index_linear(p.x, p.linear, p.first, p.count);
  return p.x.is_same(*this) ? view_as(*this) : p.x;
}

Tensor& Tensor::index_put_(const std::vector<TensorIndex>& at, const Tensor& given, bool accumulate) {
  WEFT_CHECK(given.defined(), "index_put_: values is an undefined tensor");
  Prepared p = prepare(*this, at, "index_put_");
  Dims shape = p.linear.defined() ? detail::replace(p.x.sizes(), p.first, p.count, p.linear.sizes()) : p.x.sizes();
  Tensor values = given;
  while (values.dim() > shape.size() && values.sizes()[0] == 1) values = values.squeeze(0);
  if (p.linear.defined())
    detail::index_put_linear(p.x, p.linear, values, p.first, p.count, accumulate);
  else if (accumulate)
    p.x.add_(values);
  else
    p.x.copy_(values);
  return *this;
}
Tensor& Tensor::index_put_(const std::vector<TensorIndex>& at, Scalar value, bool accumulate) {
  const bool mask = at.size() == 1 && at[0].kind == TensorIndex::Kind::tensor && at[0].tensor.defined() &&
                    at[0].tensor.dtype() == DType::bool_;
  if (mask && !accumulate && at[0].tensor.dim() <= dim() &&
      Dims(sizes().data(), static_cast<size_t>(at[0].tensor.dim())) == at[0].tensor.sizes()) {
    Tensor where = at[0].tensor;
    while (where.dim() < dim()) where = where.unsqueeze(-1);
    return masked_fill_(where, value);
  }
  return index_put_(at, full({}, value, {.dtype = dtype(), .device = device()}), accumulate);
}

namespace {
// A vector of indices for one dimension; x as at least one dimension.
Tensor checked_index(const Tensor& x, int dim, const Tensor& index, const char* caller) {
  WEFT_CHECK(index.defined() && index.dim() <= 1, "{}: index must have one dimension, got {}", caller, index);
  return detail::linear_index({index.dim() == 0 ? index.unsqueeze(0) : index}, {x.dim() == 0 ? 1 : x.sizes()[dim]},
                              false, caller, dim);
}
Tensor& put(Tensor& self, int64_t d, const Tensor& index, const Tensor& given, bool accumulate, Scalar alpha,
            const char* caller) {
  int dim = wrap_dim(d, self.dim(), caller);
  WEFT_CHECK(given.defined(), "{}: src is an undefined tensor", caller);
  WEFT_CHECK_TYPE(given.dtype() == self.dtype(), "{}: self {} and src {} have different dtypes", caller, self, given);
  Tensor x = self.dim() == 0 ? self.unsqueeze(0) : self, src = given.dim() == 0 ? given.unsqueeze(0) : given;
  Tensor linear = checked_index(x, dim, index, caller);
  Dims want = x.sizes();
  want[dim] = linear.numel();
  WEFT_CHECK(src.sizes() == want, "{}: src {} must have the shape of self with {} in dim {}: {}", caller, given,
             linear.numel(), dim, want);
  detail::index_put_linear(x, linear, src, dim, 1, accumulate, alpha);
  return self;
}
}  // namespace

Tensor Tensor::index_select(int64_t d, const Tensor& index) const {
  int at = wrap_dim(d, dim(), "index_select");
  Tensor linear = checked_index(*this, at, index, "index_select");
  if (dim() > 0) return detail::index_linear(*this, linear, at, 1);
  WEFT_CHECK(linear.numel() == 1, "index_select: {} indices for a 0-dim tensor; give one", linear.numel());
  return detail::index_linear(unsqueeze(0), linear, 0, 1).squeeze(0);
}
Tensor& Tensor::index_add_(int64_t dim, const Tensor& index, const Tensor& src, Scalar alpha) {
  return put(*this, dim, index, src, true, alpha, "index_add");
}
Tensor Tensor::index_add(int64_t dim, const Tensor& index, const Tensor& src, Scalar alpha) const {
  Tensor out = clone();
  return out.index_add_(dim, index, src, alpha);
}
Tensor index_select(const Tensor& x, int64_t dim, const Tensor& index) { return x.index_select(dim, index); }
Tensor index_add(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& src, Scalar alpha) {
  return x.index_add(dim, index, src, alpha);
}
Tensor index_copy(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& src) {
  static const OpRecord made_of_others{.name = "index_copy", .cast = Cast::promote};
  if (detail::casts(made_of_others)) [[unlikely]]
    return detail::cast_call(made_of_others, index_copy, x, dim, index, src);
  Tensor out = x.clone();
  return put(out, dim, index, src, false, 1, "index_copy");
}
Tensor index_fill(const Tensor& x, int64_t dim, const Tensor& index, Scalar value) {
  Tensor out = x.clone(), target = x.dim() == 0 ? out.unsqueeze(0) : out;
  int d = wrap_dim(dim, x.dim(), "index_fill");
  Tensor linear = checked_index(target, d, index, "index_fill");
  detail::index_put_linear(target, linear, full({}, value, {.dtype = x.dtype(), .device = x.device()}), d, 1, false);
  return out;
}

Tensor take(const Tensor& x, const Tensor& index) {
  Tensor linear = detail::linear_index({index}, {x.numel()}, true, "take", 0);
  return detail::index_linear(x, linear, 0, x.dim());
}
Tensor masked_select(const Tensor& x, const Tensor& mask) {
  WEFT_CHECK_TYPE(mask.dtype() == DType::bool_, "masked_select: mask must be bool, got {}", mask);
  Dims shape = broadcast_shapes(x.sizes(), mask.sizes(), "masked_select");
  return detail::index_linear(x.expand(shape), detail::flat_nonzero(mask.expand(shape)), 0, shape.size());
}
Tensor masked_scatter(const Tensor& x, const Tensor& mask, const Tensor& src) {
  WEFT_CHECK_TYPE(mask.dtype() == DType::bool_, "masked_scatter: mask must be bool, got {}", mask);
  WEFT_CHECK_TYPE(x.dtype() == src.dtype(), "masked_scatter: self {} and src {} have different dtypes", x, src);
  Dims shape = broadcast_shapes(x.sizes(), mask.sizes(), "masked_scatter");
  Tensor at = detail::flat_nonzero(mask.expand(shape));
  WEFT_CHECK(src.numel() >= at.numel(), "masked_scatter: the mask names {} elements, src has {}", at.numel(),
             src.numel());
  Tensor out = x.expand(shape).clone(MemoryFormat::contiguous);
  detail::index_put_linear(out, at, src.reshape({-1}).slice(0, 0, at.numel()), 0, shape.size(), false);
  return out;
}
Tensor nonzero(const Tensor& x) {
  Tensor flat = detail::flat_nonzero(x);
  NoGrad guard;
  if (x.dim() == 1) return flat.unsqueeze(1);
  Tensor out = detail::allocate({flat.numel(), x.dim()}, DType::i64, x.device());
  if (flat.numel() == 0) return out;
  for (int d = x.dim() - 1; d >= 0; --d) {
    out.select(1, d).copy_(flat.remainder(x.sizes()[d]));
    flat = div(flat, Tensor::wrap(x.sizes()[d]), Rounding::floor);
  }
  return out;
}

}  // namespace weft
