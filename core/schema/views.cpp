#include "core/error.h"
#include "core/ops/view.h"
#include "core/schema/schemas.h"

namespace weft::schema {
namespace {

Value list(std::vector<Tensor> parts) { return Value(parts); }

Value split_call(const Args& a) {
  return a[1].is_list() ? list(a.tensor(0).split(a.integers(1), a.integer(2)))
                        : list(a.tensor(0).split(a.integer(1), a.integer(2)));
}

constexpr OpSchema kRows[] = {
    {"view", "input, *size",
     [](const Args& a) -> Value {
       if (a[1].size() == 1 && a[1].as_list()[0].is_dtype())
         detail::fail_with(detail::Fault::type, "view: a view of another dtype is not supported; use to()");
       return a.tensor(0).view(a.dims(1));
     }},
    {"view_as", "input, other", [](const Args& a) -> Value { return a.tensor(0).view_as(a.tensor(1)); }},
    {"reshape", "input, *shape", [](const Args& a) -> Value { return a.tensor(0).reshape(a.dims(1)); }},
    {"reshape_as", "input, other", [](const Args& a) -> Value { return a.tensor(0).reshape_as(a.tensor(1)); }},
    {"ravel", "input", [](const Args& a) -> Value { return a.tensor(0).ravel(); }},
    {"permute", "input, *dims", [](const Args& a) -> Value { return a.tensor(0).permute(a.dims(1)); }},
    {"transpose", "input, dim0, dim1",
     [](const Args& a) -> Value { return a.tensor(0).transpose(a.integer(1), a.integer(2)); }, nullptr, true},
    {"swapaxes", "input, axis0, axis1",
     [](const Args& a) -> Value { return a.tensor(0).swapaxes(a.integer(1), a.integer(2)); }, nullptr, true},
    {"t", "input", [](const Args& a) -> Value { return a.tensor(0).t(); }, nullptr, true},
    {"expand", "input, *size", [](const Args& a) -> Value { return a.tensor(0).expand(a.dims(1)); }},
    {"expand_as", "input, other", [](const Args& a) -> Value { return a.tensor(0).expand_as(a.tensor(1)); }},
    {"broadcast_to", "input, *size", [](const Args& a) -> Value { return a.tensor(0).broadcast_to(a.dims(1)); }},
    {"broadcast_tensors", "*tensors", [](const Args& a) -> Value { return list(broadcast_tensors(a.tensors(0))); }},
    {"squeeze", "input, dim=None", [](const Args& a) -> Value { return a.tensor(0).squeeze(a.dim_list(1)); }, nullptr,
     true},
    {"unsqueeze", "input, dim", [](const Args& a) -> Value { return a.tensor(0).unsqueeze(a.integer(1)); }, nullptr,
     true},
    {"flatten", "input, start_dim=0, end_dim=-1",
     [](const Args& a) -> Value { return a.tensor(0).flatten(a.integer(1), a.integer(2)); }},
    {"unflatten", "input, dim, sizes",
     [](const Args& a) -> Value { return a.tensor(0).unflatten(a.integer(1), a.dims(2)); }},
    {"select", "input, dim, index",
     [](const Args& a) -> Value { return a.tensor(0).select(a.integer(1), a.integer(2)); }},
    {"slice", "input, dim=0, start=None, end=None, step=1",
     [](const Args& a) -> Value {
       return a.tensor(0).slice(a.integer(1), a.optional_integer(2), a.optional_integer(3), a.integer(4));
     }},
    {"narrow", "input, dim, start, length",
     [](const Args& a) -> Value { return a.tensor(0).narrow(a.integer(1), a.integer(2), a.integer(3)); }},
    {"diagonal", "input, offset=0, dim1=0, dim2=1",
     [](const Args& a) -> Value { return a.tensor(0).diagonal(a.integer(1), a.integer(2), a.integer(3)); }},
    {"as_strided", "input, size, stride, storage_offset=None",
     [](const Args& a) -> Value { return a.tensor(0).as_strided(a.dims(1), a.dims(2), a.optional_integer(3)); },
     nullptr, true},
    {"movedim", "input, source, destination",
     [](const Args& a) -> Value { return a.tensor(0).movedim(a.dims(1), a.dims(2)); }},
    {"unfold", "input, dimension, size, step",
     [](const Args& a) -> Value { return a.tensor(0).unfold(a.integer(1), a.integer(2), a.integer(3)); }},
    {"split", "input, split_size_or_sections, dim=0", &split_call},
    {"split_with_sizes", "input, split_sizes, dim=0", &split_call},
    {"chunk", "input, chunks, dim=0",
     [](const Args& a) -> Value { return list(a.tensor(0).chunk(a.integer(1), a.integer(2))); }},
    {"unbind", "input, dim=0", [](const Args& a) -> Value { return list(a.tensor(0).unbind(a.integer(1))); }},
};

}  // namespace

std::span<const OpSchema> views() { return kRows; }

}  // namespace weft::schema
