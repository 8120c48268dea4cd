#include "core/registry.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <mutex>

#include "core/dispatch.h"
#include "core/error.h"
#include "core/schema/schemas.h"
#include "core/thread_state.h"

namespace weft {
namespace {

struct Registry {
  std::mutex mutex;
  std::map<std::string, const OpSchema*, std::less<>> ops;
  Registry() {
    for (std::span<const OpSchema> table : schema::all()) add(table);
  }
  void add(std::span<const OpSchema> table) {
    for (const OpSchema& s : table) ops.emplace(std::string(s.name), &s);
  }
};
Registry& registry() {
  static Registry* r = new Registry;
  return *r;
}

struct Param {
  std::string_view name;
  std::string_view otherwise;  ///< empty: required
  bool keyword_only = false;
  bool rest = false;
};

std::string_view trim(std::string_view s) {
  while (!s.empty() && s.front() == ' ') s.remove_prefix(1);
  while (!s.empty() && s.back() == ' ') s.remove_suffix(1);
  return s;
}

std::vector<Param> parse(std::string_view text) {
  std::vector<Param> out;
  bool keyword_only = false;
  while (!text.empty()) {
    size_t comma = text.find(',');
    std::string_view one = trim(text.substr(0, comma));
    text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
    if (one == "*") {
      keyword_only = true;
      continue;
    }
    Param p;
    p.keyword_only = keyword_only;
    if (one.front() == '*') {
      p.rest = true;
      one.remove_prefix(1);
    }
    size_t eq = one.find('=');
    p.name = one.substr(0, eq);
    if (eq != std::string_view::npos) p.otherwise = one.substr(eq + 1);
    out.push_back(p);
  }
  return out;
}

Value literal(std::string_view text) {
  if (text == "None") return Value();
  if (text == "True") return Value(true);
  if (text == "False") return Value(false);
  if (text == "[]") return Value::list();
  if (text.front() == '\'') return Value(text.substr(1, text.size() - 2));
  if (text.find_first_of(".e") != std::string_view::npos) {
    double d = 0;
    std::from_chars(text.data(), text.data() + text.size(), d);
    return Value(d);
  }
  int64_t i = 0;
  std::from_chars(text.data(), text.data() + text.size(), i);
  return Value(i);
}

Args bind(const OpSchema& s, std::vector<Value> args, std::vector<NamedValue> kwargs) {
  return bind_args(s.name, s.params, std::move(args), std::move(kwargs));
}

Value inplace(const OpSchema& s, std::vector<Value> args, std::vector<NamedValue> kwargs) {
  WEFT_CHECK_TYPE(!args.empty() && args[0].is_tensor(), "{}_: the first argument must be a tensor", s.name);
  Tensor self = args[0].as_tensor();
  Args bound = bind(s, std::move(args), std::move(kwargs));
  if (s.inplace) return s.inplace(bound);
  detail::check_inplace(self, std::string(s.name).c_str());
  if (s.view) {
    Tensor v = s.call(bound).as_tensor();
    self.impl()->set_geometry(v.sizes(), v.strides(), v.storage_offset());
    if (v.impl()->grad_fn) detail::set_history(self, v.impl()->grad_fn, v.impl()->output_nr);
    return self;
  }
  Tensor result = s.call(bound).as_tensor();
  WEFT_CHECK(result.sizes() == self.sizes(), "{}_: the result {} has another shape than self {}", s.name, result, self);
  WEFT_CHECK_TYPE(category(result.dtype()) <= category(self.dtype()), "{}_: the result is {} but self is {}", s.name,
                  result.dtype(), self.dtype());
  return self.copy_(result);
}

// Ops that promote types may widen or narrow into `out`, all others need its dtype to be that of the result.
bool promotes(std::string_view op) {
  static const std::vector<OpSchema> rows = schema::pointwise();
  auto is_op = [op](const OpSchema& s) { return s.name == op; };
  std::span<const OpSchema> options = schema::pointwise_options();
  return std::any_of(rows.begin(), rows.end(), is_op) || std::any_of(options.begin(), options.end(), is_op);
}

void give(const Value& result, const Value& out, std::string_view op) {
  if (out.is_list()) {
    const auto& results = result.as_list();
    const auto& outs = out.as_list();
    WEFT_CHECK(results.size() == outs.size(), "{}: {} results and {} tensors in out", op, results.size(), outs.size());
    for (size_t i = 0; i < outs.size(); ++i) give(results[i], outs[i], op);
    return;
  }
  Tensor to = out.as_tensor("out");
  const Tensor& from = result.as_tensor();
  WEFT_CHECK(!from.requires_grad() && !(is_grad_enabled() && to.requires_grad()),
             "{}: out= does not take part in autograd; use the plain form or NoGrad", op);
  WEFT_CHECK_TYPE(promotes(op) ? category(from.dtype()) <= category(to.dtype()) : from.dtype() == to.dtype(),
                  "{}: the result is {} but out is {}", op, from.dtype(), to.dtype());
  WEFT_CHECK(!detail::overlaps_itself(to.sizes(), to.strides()),
             "{}: several elements of out {} share one address (expanded); clone() it first", op, to);
  if (to.sizes() != from.sizes()) to.resize_(from.sizes());
  to.copy_(from);
}

}  // namespace

Args bind_args(std::string_view name, std::string_view text, std::vector<Value> args, std::vector<NamedValue> kwargs) {
  std::vector<Param> params = parse(text);
  std::vector<std::string_view> names;
  std::vector<Value> values;
  size_t next = 0;
  for (const Param& p : params) {
    names.push_back(p.name);
    auto named = std::find_if(kwargs.begin(), kwargs.end(), [&](const NamedValue& k) { return k.name == p.name; });
    if (named != kwargs.end()) {
      values.push_back(std::move(named->value));
      kwargs.erase(named);
    } else if (p.rest && next < args.size()) {
      if (args[next].is_list() || args[next].is_none()) {
        values.push_back(std::move(args[next++]));
      } else {
        Value::List rest;
        while (next < args.size()) rest.push_back(std::move(args[next++]));
        values.push_back(Value::list(std::move(rest)));
      }
    } else if (!p.keyword_only && next < args.size()) {
      values.push_back(std::move(args[next++]));
    } else {
      WEFT_CHECK_TYPE(!p.otherwise.empty() || p.rest, "{}: argument {} is missing; it takes ({})", name, p.name, text);
      values.push_back(p.rest && p.otherwise.empty() ? Value::list() : literal(p.otherwise));
    }
  }
  WEFT_CHECK_TYPE(next == args.size(), "{}: {} arguments are too many; it takes ({})", name, args.size(), text);
  WEFT_CHECK_TYPE(kwargs.empty(), "{}: unknown argument {}; it takes ({})", name,
                  kwargs.empty() ? "" : kwargs.front().name, text);
  return Args(name, std::move(names), std::move(values));
}

std::string Args::label(size_t i) const { return std::string(op_) + ": " + std::string(names_[i]); }
Scalar Args::scalar(size_t i) const {
  if (is_tensor(i)) {
    const Tensor& t = tensor(i);
    WEFT_CHECK_TYPE(t.dim() == 0, "{}: expects a number, got a tensor {}", label(i), t);
    return t.item();
  }
  return values_[i].as_scalar(label(i));
}
std::optional<Scalar> Args::optional_scalar(size_t i) const {
  return none(i) ? std::nullopt : std::optional<Scalar>(scalar(i));
}
int64_t Args::integer(size_t i) const {
  if (is_tensor(i)) {
    Scalar s = scalar(i);
    WEFT_CHECK_TYPE(s.is_integral(), "{}: expects an integer", label(i));
    return s.i64();
  }
  return values_[i].as_int(label(i));
}
std::optional<int64_t> Args::optional_integer(size_t i) const {
  return none(i) ? std::nullopt : std::optional<int64_t>(integer(i));
}
std::optional<double> Args::optional_real(size_t i) const {
  return none(i) ? std::nullopt : std::optional<double>(real(i));
}
std::vector<int64_t> Args::integers(size_t i) const {
  if (values_[i].is_int()) return {integer(i)};
  std::vector<int64_t> out;
  for (const Value& v : values_[i].as_list(label(i)))
    out.push_back(v.is_tensor() ? v.as_tensor().item<int64_t>() : v.as_int(label(i)));
  return out;
}
Dims Args::dims(size_t i) const { return Dims(integers(i)); }
DimList Args::dim_list(size_t i) const { return none(i) ? DimList() : DimList(dims(i)); }
std::optional<DType> Args::dtype(size_t i) const {
  return none(i) ? std::nullopt : std::optional<DType>(values_[i].as_dtype(label(i)));
}
TensorOptions Args::options(size_t t, size_t device, size_t requires_grad) const {
  return {.dtype = dtype(t),
          .device = none(device) ? std::nullopt : std::optional(values_[device].as_device(label(device))),
          .requires_grad = flag(requires_grad)};
}
MemoryFormat Args::memory_format(size_t i, MemoryFormat otherwise) const {
  if (none(i)) return otherwise;
  const std::string& name = text(i);
  if (name == "contiguous_format") return MemoryFormat::contiguous;
  if (name == "channels_last") return MemoryFormat::channels_last;
  if (name == "channels_last_3d") return MemoryFormat::channels_last_3d;
  WEFT_CHECK(name == "preserve_format", "{}: unknown memory format \"{}\"", label(i), name);
  return MemoryFormat::preserve;
}

const OpSchema* find_op(std::string_view name) {
  Registry& r = registry();
  std::lock_guard lock(r.mutex);
  auto it = r.ops.find(name);
  return it == r.ops.end() ? nullptr : it->second;
}
std::vector<std::string> op_names() {
  Registry& r = registry();
  std::lock_guard lock(r.mutex);
  std::vector<std::string> names;
  for (const auto& [name, schema] : r.ops) names.push_back(name);
  return names;
}
void add_op_schemas(std::span<const OpSchema> schemas) {
  Registry& r = registry();
  std::lock_guard lock(r.mutex);
  r.add(schemas);
}

Value call(std::string_view name, std::vector<Value> args, std::vector<NamedValue> kwargs) {
  auto take = [&](std::string_view key) {
    auto it = std::find_if(kwargs.begin(), kwargs.end(), [&](const NamedValue& k) { return k.name == key; });
    if (it == kwargs.end()) return Value();
    Value v = std::move(it->value);
    kwargs.erase(it);
    return v;
  };
  const OpSchema* s = find_op(name);
  if (s) {
    Value in_place = take("inplace");
    if (!in_place.is_none() && in_place.as_bool("inplace")) return inplace(*s, std::move(args), std::move(kwargs));
    Value out = take("out");
    if (out.is_none()) return s->call(bind(*s, std::move(args), std::move(kwargs)));
    Value result = s->call(bind(*s, std::move(args), std::move(kwargs)));
    give(result, out, name);
    return out;
  }
  if (name.ends_with('_'))
    if (const OpSchema* base = find_op(name.substr(0, name.size() - 1)))
      return inplace(*base, std::move(args), std::move(kwargs));
  WEFT_FAIL("call: there is no op named {}", name);
}

}  // namespace weft
