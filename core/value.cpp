#include "core/value.h"

#include <cmath>
#include <cstdio>

#include "core/error.h"

namespace weft {

template class OrderedDict<std::string, Tensor>;
template class OrderedDict<Value, Value, ValueHash>;

struct Value::Items {
  ListKind kind;
  List values;
};

Value::Value(const Value& v) = default;
Value::Value(Value&& v) noexcept = default;
Value& Value::operator=(const Value& v) = default;
Value& Value::operator=(Value&& v) noexcept = default;
Value::~Value() = default;

Value::Value(std::in_place_type_t<bool>, bool v) noexcept : data_(v) {}
Value::Value(std::in_place_type_t<int64_t>, int64_t v) noexcept : data_(v) {}
Value::Value(std::in_place_type_t<double>, double v) noexcept : data_(v) {}
Value::Value(const char* v) : data_(std::string(v)) {}
Value::Value(std::string_view v) : data_(std::string(v)) {}
Value::Value(std::string v) : data_(std::move(v)) {}
Value::Value(DType v) : data_(v) {}
Value::Value(Device v) : data_(v) {}
Value::Value(Tensor v) : data_(std::move(v)) {}
Value::Value(const Scalar& v) {
  if (v.is_bool())
    data_ = v.truth();
  else if (v.is_integral())
    data_ = v.i64();
  else
    data_ = v.f64();
}
Value::Value(Dict v) : data_(std::make_shared<Dict>(std::move(v))) {}
Value::Value(const StateDict& v) {
  Dict dict;
  for (const auto& [name, tensor] : v) dict.set(name, tensor);
  *this = Value(std::move(dict));
}
Value::Value(std::initializer_list<std::pair<Value, Value>> items) {
  Dict dict;
  for (const auto& [key, value] : items) dict.set(key, value);
  *this = Value(std::move(dict));
}
Value Value::dict() { return Value(Dict()); }
Value Value::bytes(std::string content) {
  Value v;
  v.data_ = Bytes{std::move(content)};
  return v;
}
Value Value::big_integer(std::string digits) {
  Value v;
  v.data_ = BigInteger{std::move(digits)};
  return v;
}
Value Value::list(List items, ListKind kind) {
  Value v;
  v.data_ = std::make_shared<Items>(Items{kind, std::move(items)});
  return v;
}

std::string_view Value::kind_name() const {
  constexpr std::string_view names[] = {"none", "bool",  "int",    "float",  "str",  "bytes",
                                        "int",  "dtype", "device", "tensor", "list", "dict"};
  constexpr std::string_view list_names[] = {"list", "tuple", "size", "set"};
  return is_list() ? list_names[static_cast<int>(list_kind())] : names[data_.index()];
}

void Value::fail_kind(std::string_view what, std::string_view expected) const {
  const bool plain = is_none() || is_list() || is_dict() || is_tensor();
  WEFT_CHECK_TYPE(false, "{}{}expects {}, got {}{}{}", what, what.empty() ? "" : ": ", expected, kind_name(),
                  plain ? "" : " ", plain ? std::string() : str(60));
  __builtin_unreachable();
}

template <class T>
const T& Value::get(std::string_view what, std::string_view expected) const {
  const T* p = std::get_if<T>(&data_);
  if (!p) fail_kind(what, expected);
  return *p;
}

bool Value::as_bool(std::string_view what) const { return get<bool>(what, "a bool"); }
int64_t Value::as_int(std::string_view what) const { return get<int64_t>(what, "an int"); }
double Value::as_double(std::string_view what) const {
  return is_int() ? static_cast<double>(std::get<int64_t>(data_)) : get<double>(what, "a float");
}
Scalar Value::as_scalar(std::string_view what) const {
  if (is_bool()) return std::get<bool>(data_);
  if (is_int()) return std::get<int64_t>(data_);
  return get<double>(what, "a number");
}
const std::string& Value::as_string(std::string_view what) const { return get<std::string>(what, "a str"); }
const std::string& Value::as_bytes(std::string_view what) const { return get<Bytes>(what, "bytes").content; }
const std::string& Value::as_big_integer(std::string_view what) const {
  return get<BigInteger>(what, "an int beyond 64 bits").digits;
}
DType Value::as_dtype(std::string_view what) const { return get<DType>(what, "a dtype"); }
Device Value::as_device(std::string_view what) const {
  return is_string() ? Device(std::get<std::string>(data_)) : get<Device>(what, "a device");
}
const Tensor& Value::as_tensor(std::string_view what) const { return get<Tensor>(what, "a tensor"); }
const Value::List& Value::as_list(std::string_view what) const {
  return get<std::shared_ptr<Items>>(what, "a list")->values;
}
Value::ListKind Value::list_kind(std::string_view what) const {
  return get<std::shared_ptr<Items>>(what, "a list")->kind;
}
const Value::Dict& Value::as_dict(std::string_view what) const { return *get<std::shared_ptr<Dict>>(what, "a dict"); }

std::vector<int64_t> Value::as_ints(std::string_view what) const {
  if (!is_list()) fail_kind(what, "a list of ints");
  std::vector<int64_t> out;
  for (const Value& v : as_list()) out.push_back(v.as_int(what));
  return out;
}
std::vector<Tensor> Value::as_tensors(std::string_view what) const {
  if (!is_list()) fail_kind(what, "a list of tensors");
  std::vector<Tensor> out;
  for (const Value& v : as_list()) out.push_back(v.as_tensor(what));
  return out;
}
StateDict Value::as_state_dict(std::string_view what) const {
  if (!is_dict()) fail_kind(what, "a dict of tensors");
  StateDict out;
  for (const auto& [key, value] : as_dict()) {
    const std::string& name = key.as_string(what.empty() ? "state_dict key" : what);
    out.set(name, value.as_tensor(name));
  }
  return out;
}

Value::List& Value::mutable_list(std::string_view what) {
  get<std::shared_ptr<Items>>(what, "a list");
  auto& p = std::get<std::shared_ptr<Items>>(data_);
  if (p.use_count() > 1) p = std::make_shared<Items>(*p);
  return p->values;
}
Value::Dict& Value::mutable_dict(std::string_view what) {
  get<std::shared_ptr<Dict>>(what, "a dict");
  auto& p = std::get<std::shared_ptr<Dict>>(data_);
  if (p.use_count() > 1) p = std::make_shared<Dict>(*p);
  return *p;
}

size_t Value::size() const { return is_list() ? as_list().size() : is_dict() ? as_dict().size() : 0; }

const Value* Value::find(const Value& key) const { return as_dict().find(key); }
bool Value::contains(const Value& key) const { return find(key) != nullptr; }

namespace {
size_t list_index(const Value& key, size_t size) {
  const int64_t n = static_cast<int64_t>(size), given = key.as_int("list index"), i = given < 0 ? given + n : given;
  WEFT_CHECK_INDEX(i >= 0 && i < n, "list index: {} is out of range; the list has {} elements", given, n);
  return static_cast<size_t>(i);
}
}  // namespace

const Value& Value::at(const Value& key) const {
  if (is_list()) return as_list()[list_index(key, size())];
  const Value* found = as_dict("[]").find(key);
  if (found) return *found;
  std::string keys;
  for (const auto& item : as_dict()) {
    if (keys.size() > 300) {
      keys += ", ...";
      break;
    }
    keys += (keys.empty() ? "" : ", ") + item.first.str(60);
  }
  WEFT_CHECK_INDEX(false, "dict: no key {}; there are: {}", key.str(60), keys.empty() ? "none" : keys);
  __builtin_unreachable();
}

Value& Value::mutable_at(const Value& key) {
  if (is_list()) return mutable_list()[list_index(key, size())];
  at(key);  // the error of a missing key
  return *mutable_dict().find(key);
}

void Value::set(const Value& key, Value value) {
  if (is_list()) {
    mutable_list()[list_index(key, size())] = std::move(value);
    return;
  }
  if (is_none()) *this = dict();
  mutable_dict("set").set(key, std::move(value));
}

void Value::print(std::string& out, size_t limit) const {
  if (out.size() > limit) return;
  const auto quoted = [&](std::string_view text, bool is_bytes) {
    out += '\'';
    for (const char c : text) {
      if (out.size() > limit) break;
      const auto byte = static_cast<unsigned char>(c);
      char code[8];
      std::snprintf(code, sizeof code, "\\x%02x", byte);
      if (c == '\'' || c == '\\')
        (out += '\\') += c;
      else if (c == '\n')
        out += "\\n";
      else if (byte < 0x20 || byte == 0x7f || (is_bytes && byte > 0x7f))
        out += code;
      else
        out += c;
    }
    out += out.size() > limit ? "...'" : "'";
  };
  switch (kind()) {
    case Kind::none:
      out += "None";
      break;
    case Kind::boolean:
      out += as_bool() ? "True" : "False";
      break;
    case Kind::integer:
      out += std::to_string(as_int());
      break;
    case Kind::number: {
      const double v = as_double();
      char text[32];
      for (int digits = 15; digits <= 17; ++digits) {  // the shortest of these that reads back
        std::snprintf(text, sizeof text, "%.*g", digits, v);
        if (std::strtod(text, nullptr) == v) break;
      }
      out += text;
      if (std::isfinite(v) &&
          out.find_first_of(".e", out.size() - std::char_traits<char>::length(text)) == std::string::npos)
        out += ".0";
      break;
    }
    case Kind::string:
      quoted(as_string(), false);
      break;
    case Kind::bytes:
      out += 'b';
      quoted(as_bytes(), true);
      break;
    case Kind::big_integer:
      out += as_big_integer();
      break;
    case Kind::dtype:
      (out += "torch.") += torch_name(as_dtype());
      break;
    case Kind::device:
      out += "device('" + as_device().str() + "')";
      break;
    case Kind::tensor:
      out += as_tensor().defined() ? detail::format("tensor({})", {as_tensor()}) : "tensor(undefined)";
      break;
    case Kind::list: {
      constexpr std::string_view open[] = {"[", "(", "Size([", "{"}, close[] = {"]", ")", "])", "}"};
      const int k = static_cast<int>(list_kind());
      out += open[k];
      bool first = true;
      for (const Value& v : as_list()) {
        if (!std::exchange(first, false)) out += ", ";
        if (out.size() > limit) {
          out += "...";
          break;
        }
        v.print(out, limit);
      }
      if (k == 1 && size() == 1) out += ',';
      out += close[k];
      break;
    }
    case Kind::dict: {
      out += '{';
      bool first = true;
      for (const auto& [key, value] : as_dict()) {
        if (!std::exchange(first, false)) out += ", ";
        if (out.size() > limit) {
          out += "...";
          break;
        }
        key.print(out, limit);
        out += ": ";
        value.print(out, limit);
      }
      out += '}';
    }
  }
}

std::string Value::str(size_t limit) const {
  std::string out;
  print(out, limit);
  return out;
}

bool operator==(const Value& a, const Value& b) {
  if (a.kind() != b.kind()) return false;
  if (a.is_tensor()) return a.as_tensor().is_same(b.as_tensor());
  if (a.is_list()) return a.list_kind() == b.list_kind() && a.as_list() == b.as_list();
  if (a.is_dict()) return a.as_dict() == b.as_dict();
  switch (a.kind()) {
    case Value::Kind::none:
      return true;
    case Value::Kind::boolean:
      return a.as_bool() == b.as_bool();
    case Value::Kind::integer:
      return a.as_int() == b.as_int();
    case Value::Kind::number:
      return a.as_double() == b.as_double();
    case Value::Kind::string:
      return a.as_string() == b.as_string();
    case Value::Kind::bytes:
      return a.as_bytes() == b.as_bytes();
    case Value::Kind::big_integer:
      return a.as_big_integer() == b.as_big_integer();
    case Value::Kind::dtype:
      return a.as_dtype() == b.as_dtype();
    default:
      return a.as_device() == b.as_device();
  }
}

size_t ValueHash::operator()(const Value& v) const {
  const auto text = std::hash<std::string>();
  const size_t seed = static_cast<size_t>(v.kind()) * 0x9e3779b97f4a7c15u;
  switch (v.kind()) {
    case Value::Kind::none:
      return seed;
    case Value::Kind::boolean:
      return seed + v.as_bool();
    case Value::Kind::integer:
      return std::hash<int64_t>()(v.as_int());
    case Value::Kind::number:
      return seed ^ std::hash<double>()(v.as_double());
    case Value::Kind::string:
      return text(v.as_string());
    case Value::Kind::bytes:
      return seed ^ text(v.as_bytes());
    case Value::Kind::big_integer:
      return seed ^ text(v.as_big_integer());
    case Value::Kind::dtype:
      return seed + static_cast<size_t>(v.as_dtype());
    case Value::Kind::device:
      return seed ^ text(v.as_device().str());
    default:
      break;
  }
  const bool hashable =
      v.is_list() && (v.list_kind() == Value::ListKind::tuple || v.list_kind() == Value::ListKind::size);
  if (!hashable) v.fail_kind("dict key", "a number, text or tuple");
  size_t h = seed;
  for (const Value& x : v.as_list()) h = h * 0x100000001b3u + (*this)(x);
  return h;
}

}  // namespace weft
