#include "core/error.h"
#include "core/host_read.h"
#include "core/ops/copy.h"
#include "core/schema/schemas.h"

namespace weft::schema {
namespace {

#define WEFT_OPTIONS "*, dtype=None, device=None, requires_grad=False"

void collect(const Value& v, Dims& sizes, size_t depth, std::vector<double>& reals, std::vector<int64_t>& integers,
             int& kind) {
  if (v.is_list()) {
    int64_t n = static_cast<int64_t>(v.size());
    if (sizes.size() == static_cast<int>(depth)) sizes.push_back(n);
    WEFT_CHECK(sizes[static_cast<int>(depth)] == n, "tensor: rows of different lengths ({} and {})",
               sizes[static_cast<int>(depth)], n);
    for (const Value& x : v.as_list()) collect(x, sizes, depth + 1, reals, integers, kind);
    return;
  }
  WEFT_CHECK(static_cast<int>(depth) == sizes.size(), "tensor: a number among lists");
  Scalar s = v.as_scalar("tensor");
  kind = std::max(kind, category(s.dtype()));
  reals.push_back(s.f64());
  integers.push_back(s.i64());
}

Value tensor_of(const Args& a) {
  if (a.is_tensor(0)) {
    const Tensor t = a.tensor(0).detach().clone();
    return placed(a.dtype(1) ? t.to(*a.dtype(1)) : t, a.options(1, 2, 3));
  }
  Dims sizes;
  std::vector<double> reals;
  std::vector<int64_t> integers;
  int kind = 0;
  collect(a[0], sizes, 0, reals, integers, kind);
  if (reals.empty()) kind = 2;
  TensorOptions o = a.options(1, 2, 3);
  if (!o.dtype) o.dtype = kind == 2 ? default_dtype() : kind == 1 ? DType::i64 : DType::bool_;
  const TensorOptions plain{.dtype = o.dtype, .device = o.device};
  return placed((kind == 2 ? tensor(reals, plain) : tensor(integers, plain)).reshape(sizes), o);
}

Value to(const Args& a) {
  // to(dtype), to(device, dtype), to(other), each followed by non_blocking, copy.
  Tensor t = a.tensor(0);
  Value::List rest = a[1].as_list();
  std::optional<DType> dtype = a.dtype(2);
  std::optional<Device> device;
  if (!a.none(6)) device = a[6].as_device("device");
  bool copy = a.flag(4);
  size_t flags = 0;
  for (const Value& v : rest) {
    if (v.is_dtype())
      dtype = v.as_dtype();
    else if (v.is_tensor())
      dtype = v.as_tensor().dtype(), device = v.as_tensor().device();
    else if (v.is_bool() && ++flags == 2)
      copy = v.as_bool();
    else if (v.is_device() || v.is_string())
      device = v.as_device();
    else
      WEFT_CHECK_TYPE(v.is_none() || v.is_bool(), "to: {} is no dtype, device or tensor", v.str(60));
  }
  MemoryFormat format = a.memory_format(5, MemoryFormat::preserve);
  const Tensor out = t.to(device.value_or(t.device()), dtype.value_or(t.dtype())).to(format);
  return copy && out.is_same(t) ? t.clone(format) : out;
}

constexpr OpSchema kRows[] = {
    {"empty", "*size, " WEFT_OPTIONS, [](const Args& a) -> Value { return empty(a.dims(0), a.options(1, 2, 3)); }},
    {"zeros", "*size, " WEFT_OPTIONS, [](const Args& a) -> Value { return zeros(a.dims(0), a.options(1, 2, 3)); }},
    {"ones", "*size, " WEFT_OPTIONS, [](const Args& a) -> Value { return ones(a.dims(0), a.options(1, 2, 3)); }},
    {"full", "size, fill_value, " WEFT_OPTIONS,
     [](const Args& a) -> Value { return full(a.dims(0), a.scalar(1), a.options(2, 3, 4)); }},
    {"empty_strided", "size, stride, " WEFT_OPTIONS,
     [](const Args& a) -> Value { return empty_strided(a.dims(0), a.dims(1), a.options(2, 3, 4)); }},
    {"scalar_tensor", "s, " WEFT_OPTIONS,
     [](const Args& a) -> Value { return scalar_tensor(a.scalar(0), a.options(1, 2, 3)); }},
    {"empty_like", "input, " WEFT_OPTIONS,
     [](const Args& a) -> Value { return placed(empty_like(a.tensor(0), a.dtype(1)), a.options(1, 2, 3)); }},
    {"zeros_like", "input, " WEFT_OPTIONS,
     [](const Args& a) -> Value { return placed(zeros_like(a.tensor(0), a.dtype(1)), a.options(1, 2, 3)); }},
    {"ones_like", "input, " WEFT_OPTIONS,
     [](const Args& a) -> Value { return placed(ones_like(a.tensor(0), a.dtype(1)), a.options(1, 2, 3)); }},
    {"full_like", "input, fill_value, " WEFT_OPTIONS,
     [](const Args& a) -> Value {
       return placed(full_like(a.tensor(0), a.scalar(1), a.dtype(2)), a.options(2, 3, 4));
     }},
    {"arange", "start=None, end=None, step=1, " WEFT_OPTIONS,
     [](const Args& a) -> Value {
       if (a.none(1))
         return arange(a.scalar(0).is_floating() ? Scalar(0.0) : Scalar(0), a.scalar(0), a.scalar(2),
                       a.options(3, 4, 5));
       Scalar end = a.scalar(1);
       return arange(a.none(0) ? (end.is_floating() ? Scalar(0.0) : Scalar(0)) : a.scalar(0), end, a.scalar(2),
                     a.options(3, 4, 5));
     }},
    {"linspace", "start, end, steps, " WEFT_OPTIONS,
     [](const Args& a) -> Value { return linspace(a.scalar(0), a.scalar(1), a.integer(2), a.options(3, 4, 5)); }},
    {"eye", "n, m=None, " WEFT_OPTIONS,
     [](const Args& a) -> Value { return eye(a.integer(0), a.optional_integer(1), a.options(2, 3, 4)); }},
    {"tensor", "data, " WEFT_OPTIONS, &tensor_of},
    {"clone", "input, *, memory_format=None",
     [](const Args& a) -> Value { return a.tensor(0).clone(a.memory_format(1, MemoryFormat::preserve)); }},
    {"contiguous", "input, *, memory_format=None",
     [](const Args& a) -> Value { return a.tensor(0).contiguous(a.memory_format(1, MemoryFormat::contiguous)); }},
    {"to", "input, *rest, dtype=None, non_blocking=False, copy=False, memory_format=None, device=None", &to},
    {"type_as", "input, other", [](const Args& a) -> Value { return a.tensor(0).type_as(a.tensor(1)); }},
    {"copy_", "input, src, non_blocking=False",
     [](const Args& a) -> Value { return Tensor(a.tensor(0)).copy_(a.operand(1)); }},
    {"fill", "input, value",
     [](const Args& a) -> Value {
       return a.is_tensor(1) ? fill(a.tensor(0), a.tensor(1)) : fill(a.tensor(0), a.scalar(1));
     },
     [](const Args& a) -> Value {
       return a.is_tensor(1) ? Tensor(a.tensor(0)).fill_(a.tensor(1)) : Tensor(a.tensor(0)).fill_(a.scalar(1));
     }},
    {"zero_", "input", [](const Args& a) -> Value { return Tensor(a.tensor(0)).zero_(); }},
    {"item", "input",
     [](const Args& a) -> Value {
       const detail::HostRead read("item: its result is a number of the host");
       return Value(a.tensor(0).item());
     }},
    {"detach", "input", [](const Args& a) -> Value { return a.tensor(0).detach(); }},
};

}  // namespace

Tensor placed(const Tensor& t, const TensorOptions& o) {
  const Tensor there = o.device ? t.to(*o.device) : t;
  return o.requires_grad ? there.detach().set_requires_grad(true) : there;
}

std::span<const OpSchema> creation() { return kRows; }

}  // namespace weft::schema
