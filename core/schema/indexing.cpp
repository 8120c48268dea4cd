#include "core/error.h"
#include "core/ops/embedding.h"
#include "core/ops/gather.h"
#include "core/ops/index.h"
#include "core/ops/shape.h"
#include "core/schema/schemas.h"

namespace weft::schema {
namespace {

// A nested list of numbers or bools as an index tensor, of the host: that goes with any device.
Tensor index_tensor(const Value& v) {
  Value list = call("tensor", {v}, {{"device", Value(Device())}});
  Tensor t = list.as_tensor();
  return t.numel() == 0 ? t.to(DType::i64) : t;
}

TensorIndex one_index(const Value& v) {
  if (v.is_int()) return TensorIndex(v.as_int());
  if (v.is_bool()) return TensorIndex(v.as_bool());
  if (v.is_tensor()) return TensorIndex(v.as_tensor());
  if (v.is_list()) return TensorIndex(index_tensor(v));
  if (v.is_none()) return TensorIndex(None);
  if (v.contains("ellipsis")) return TensorIndex(Ellipsis);
  if (v.contains("none")) return TensorIndex(None);
  WEFT_CHECK_TYPE(v.is_dict() && v.contains("slice"), "index: {} is no index", v.str(60));
  const auto& s = v["slice"].as_list();
  auto bound = [](const Value& x) { return x.is_none() ? std::nullopt : std::optional<int64_t>(x.as_int("slice")); };
  return TensorIndex(Slice(bound(s.at(0)), bound(s.at(1)), s.at(2).is_none() ? 1 : s.at(2).as_int("slice")));
}
// Index tuples travel as lists; slices, Ellipsis and None in them as {"slice": [a, b, c]}, {"ellipsis": true}, {"none":
// true}.
std::vector<TensorIndex> indices(const Args& a, size_t i) {
  std::vector<TensorIndex> out;
  if (!a[i].is_list()) return {one_index(a[i])};
  for (const Value& v : a[i].as_list()) out.push_back(one_index(v));
  return out;
}

constexpr OpSchema kRows[] = {
    {"__getitem__", "input, index", [](const Args& a) -> Value { return a.tensor(0).index(indices(a, 1)); }},
    {"__setitem__", "input, index, value",
     [](const Args& a) -> Value {
       Tensor self = a.tensor(0);
       return a.is_tensor(2) ? self.index_put_(indices(a, 1), a.tensor(2))
                             : self.index_put_(indices(a, 1), a.scalar(2));
     }},
    {"gather", "input, dim, index, *, sparse_grad=False",
     [](const Args& a) -> Value { return gather(a.tensor(0), a.integer(1), a.tensor(2)); }},
    {"scatter", "input, dim, index, src, *, reduce=None",
     [](const Args& a) -> Value {
       if (a.none(4))
         return a.is_tensor(3) ? scatter(a.tensor(0), a.integer(1), a.tensor(2), a.tensor(3))
                               : scatter(a.tensor(0), a.integer(1), a.tensor(2), a.scalar(3));
       return a.is_tensor(3) ? scatter(a.tensor(0), a.integer(1), a.tensor(2), a.tensor(3), a.text(4))
                             : scatter(a.tensor(0), a.integer(1), a.tensor(2), a.scalar(3), a.text(4));
     }},
    {"scatter_add", "input, dim, index, src",
     [](const Args& a) -> Value { return scatter_add(a.tensor(0), a.integer(1), a.tensor(2), a.tensor(3)); },
     [](const Args& a) -> Value { return Tensor(a.tensor(0)).scatter_add_(a.integer(1), a.tensor(2), a.tensor(3)); }},
    {"index_select", "input, dim, index",
     [](const Args& a) -> Value { return index_select(a.tensor(0), a.integer(1), a.tensor(2)); }},
    {"index_add", "input, dim, index, source, *, alpha=1",
     [](const Args& a) -> Value { return index_add(a.tensor(0), a.integer(1), a.tensor(2), a.tensor(3), a.scalar(4)); },
     [](const Args& a) -> Value {
       return Tensor(a.tensor(0)).index_add_(a.integer(1), a.tensor(2), a.tensor(3), a.scalar(4));
     }},
    {"index_copy", "input, dim, index, source",
     [](const Args& a) -> Value { return index_copy(a.tensor(0), a.integer(1), a.tensor(2), a.tensor(3)); }},
    {"index_fill", "input, dim, index, value",
     [](const Args& a) -> Value { return index_fill(a.tensor(0), a.integer(1), a.tensor(2), a.scalar(3)); }},
    {"take", "input, index", [](const Args& a) -> Value { return take(a.tensor(0), a.tensor(1)); }},
    {"take_along_dim", "input, indices, dim",
     [](const Args& a) -> Value { return take_along_dim(a.tensor(0), a.tensor(1), a.integer(2)); }},
    {"masked_select", "input, mask", [](const Args& a) -> Value { return masked_select(a.tensor(0), a.tensor(1)); }},
    {"masked_scatter", "input, mask, source",
     [](const Args& a) -> Value { return masked_scatter(a.tensor(0), a.tensor(1), a.tensor(2)); }},
    {"nonzero", "input", [](const Args& a) -> Value { return nonzero(a.tensor(0)); }},
    {"cat", "tensors, dim=0", [](const Args& a) -> Value { return cat(a.tensors(0), a.integer(1)); }},
    {"stack", "tensors, dim=0", [](const Args& a) -> Value { return stack(a.tensors(0), a.integer(1)); }},
    {"hstack", "tensors", [](const Args& a) -> Value { return hstack(a.tensors(0)); }},
    {"vstack", "tensors", [](const Args& a) -> Value { return vstack(a.tensors(0)); }},
    {"dstack", "tensors", [](const Args& a) -> Value { return dstack(a.tensors(0)); }},
    {"repeat", "input, *repeats", [](const Args& a) -> Value { return repeat(a.tensor(0), a.dims(1)); }},
    {"tile", "input, *dims", [](const Args& a) -> Value { return tile(a.tensor(0), a.dims(1)); }},
    {"repeat_interleave", "input, repeats, dim=None",
     [](const Args& a) -> Value {
       return a.is_tensor(1) ? repeat_interleave(a.tensor(0), a.tensor(1), a.optional_integer(2))
                             : repeat_interleave(a.tensor(0), a.integer(1), a.optional_integer(2));
     }},
    {"flip", "input, *dims", [](const Args& a) -> Value { return flip(a.tensor(0), a.dims(1)); }},
    {"roll", "input, shifts, dims=[]", [](const Args& a) -> Value { return roll(a.tensor(0), a.dims(1), a.dims(2)); }},
    {"tril", "input, diagonal=0", [](const Args& a) -> Value { return tril(a.tensor(0), a.integer(1)); }},
    {"triu", "input, diagonal=0", [](const Args& a) -> Value { return triu(a.tensor(0), a.integer(1)); }},
    {"diag", "input, diagonal=0", [](const Args& a) -> Value { return diag(a.tensor(0), a.integer(1)); }},
    {"diag_embed", "input, offset=0, dim1=-2, dim2=-1",
     [](const Args& a) -> Value { return diag_embed(a.tensor(0), a.integer(1), a.integer(2), a.integer(3)); }},
    {"pad", "input, pad, mode='constant', value=None",
     [](const Args& a) -> Value {
       return pad(a.tensor(0), a.integers(1), a.text(2), a.none(3) ? Scalar(0.0) : a.scalar(3));
     }},
    {"glu", "input, dim=-1", [](const Args& a) -> Value { return glu(a.tensor(0), a.integer(1)); }},
    {"one_hot", "tensor, num_classes=-1", [](const Args& a) -> Value { return one_hot(a.tensor(0), a.integer(1)); }},
    {"embedding", "input, weight, padding_idx=None",
     [](const Args& a) -> Value {
       return embedding(a.tensor(0), a.tensor(1), {.padding_idx = a.optional_integer(2)});
     }},
};

}  // namespace

std::span<const OpSchema> indexing() { return kRows; }

}  // namespace weft::schema
