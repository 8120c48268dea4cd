#pragma once
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "core/device.h"
#include "core/dims.h"
#include "core/dtype.h"
#include "core/ordered_dict.h"
#include "core/scalar.h"
#include "core/tensor.h"

namespace weft {

/// Names and tensors in their order: what Module::state_dict() gives.
using StateDict = OrderedDict<std::string, Tensor>;
extern template class OrderedDict<std::string, Tensor>;

class Value;
struct ValueHash {
  size_t operator()(const Value& v) const;
};

/// Any of what Python would pass around: none, numbers, text, dtypes, devices, tensors, lists, dicts, nested as you
/// like.
///
///     Value v = {{"epoch", 3}, {"lr", 0.1}, {"model", model.state_dict()}};   // a dict
///     v.set("epoch", v["epoch"].as_int() + 1);
///     for (const Value& x : Value::list({1, 2.5, "three"}).as_list()) ...
///
/// Copies are cheap: lists and dicts are shared until one of the copies changes them. Tensors are handles, as
/// everywhere. Accessors named as_* throw a TypeError such as `dim: expects an int, got str 'x'`; `what` is the name in
/// front.
class Value {
 public:
  enum class Kind : uint8_t {
    none,
    boolean,
    integer,
    number,
    string,
    bytes,
    big_integer,
    dtype,
    device,
    tensor,
    list,
    dict
  };
  /// What a list was in Python.
  enum class ListKind : uint8_t { list, tuple, size, set };
  using List = std::vector<Value>;
  using Dict = OrderedDict<Value, Value, ValueHash>;

  Value() = default;
  // Out of line: a variant's constructors and visitors would be compiled in every file.
  Value(const Value& v);
  Value(Value&& v) noexcept;
  Value& operator=(const Value& v);
  Value& operator=(Value&& v) noexcept;
  ~Value();
  template <std::same_as<bool> B>
  Value(B v) : Value(std::in_place_type<bool>, v) {}
  template <std::integral T>
  requires(!std::same_as<T, bool>) Value(T v) : Value(std::in_place_type<int64_t>, static_cast<int64_t>(v)) {}
  template <std::floating_point T>
  Value(T v) : Value(std::in_place_type<double>, static_cast<double>(v)) {}
  Value(const char* v);
  Value(std::string_view v);
  Value(std::string v);
  Value(const Scalar& v);
  Value(DType v);
  Value(Device v);
  Value(Tensor v);
  Value(const StateDict& v);
  Value(Dict v);
  Value(std::vector<Value> v) : Value(list(std::move(v))) {}
  Value(const std::vector<Tensor>& v) : Value(list(List(v.begin(), v.end()))) {}
  Value(const std::vector<int64_t>& v) : Value(list(List(v.begin(), v.end()))) {}
  Value(const std::vector<double>& v) : Value(list(List(v.begin(), v.end()))) {}
  Value(const Dims& v) : Value(list(List(v.begin(), v.end()))) {}
  /// A dict: `{{"epoch", 3}, {"loss", 0.5}}`.
  Value(std::initializer_list<std::pair<Value, Value>> items);

  static Value list(List items = {}, ListKind kind = ListKind::list);
  static Value tuple(List items) { return list(std::move(items), ListKind::tuple); }
  static Value dict();
  static Value bytes(std::string content);
  /// An integer beyond 64 bits, as decimal digits with an optional minus.
  static Value big_integer(std::string digits);

  Kind kind() const { return static_cast<Kind>(data_.index()); }
  bool is_none() const { return kind() == Kind::none; }
  bool is_bool() const { return kind() == Kind::boolean; }
  bool is_int() const { return kind() == Kind::integer; }
  bool is_double() const { return kind() == Kind::number; }
  bool is_string() const { return kind() == Kind::string; }
  bool is_dtype() const { return kind() == Kind::dtype; }
  bool is_device() const { return kind() == Kind::device; }
  bool is_tensor() const { return kind() == Kind::tensor; }
  bool is_list() const { return kind() == Kind::list; }
  bool is_dict() const { return kind() == Kind::dict; }
  /// A bool, an integer or a float.
  bool is_scalar() const { return is_bool() || is_int() || is_double(); }

  bool as_bool(std::string_view what = {}) const;
  int64_t as_int(std::string_view what = {}) const;
  /// Takes integers too.
  double as_double(std::string_view what = {}) const;
  Scalar as_scalar(std::string_view what = {}) const;
  const std::string& as_string(std::string_view what = {}) const;
  const std::string& as_bytes(std::string_view what = {}) const;
  /// The digits of a big_integer.
  const std::string& as_big_integer(std::string_view what = {}) const;
  DType as_dtype(std::string_view what = {}) const;
  /// Takes the text of a device too.
  Device as_device(std::string_view what = {}) const;
  const Tensor& as_tensor(std::string_view what = {}) const;
  const List& as_list(std::string_view what = {}) const;
  ListKind list_kind(std::string_view what = {}) const;
  const Dict& as_dict(std::string_view what = {}) const;
  std::vector<int64_t> as_ints(std::string_view what = {}) const;
  std::vector<Tensor> as_tensors(std::string_view what = {}) const;
  /// Of a dict whose keys are strings and whose values are tensors.
  StateDict as_state_dict(std::string_view what = {}) const;

  /// To change the list or dict in place; other copies keep what they have.
  List& mutable_list(std::string_view what = {});
  Dict& mutable_dict(std::string_view what = {});

  /// Elements of a list, entries of a dict; 0 for anything else.
  size_t size() const;
  /// A dict's value under `key` (IndexError naming the keys there are), or a list's element (negative counts from the
  /// end).
  const Value& at(const Value& key) const;
  const Value& operator[](const Value& key) const { return at(key); }
  /// The same, to change it in place.
  Value& mutable_at(const Value& key);
  /// Sets or adds a dict's entry (none becomes a dict first), or replaces a list's element.
  void set(const Value& key, Value value);
  /// Whether a dict has `key`.
  bool contains(const Value& key) const;
  /// A dict's value under `key`, or null.
  const Value* find(const Value& key) const;

  /// As Python prints it; tensors as `tensor([2, 3] f32 cpu)`. At most about `limit` characters.
  std::string str(size_t limit = 2000) const;
  /// "none", "bool", "int", "float", "str", ..., as in error texts.
  std::string_view kind_name() const;

  /// Equal kind and content; tensors are equal when they are the same handle. 1 and 1.0 differ.
  friend bool operator==(const Value& a, const Value& b);

 private:
  struct Bytes {
    std::string content;
    bool operator==(const Bytes&) const = default;
  };
  struct BigInteger {
    std::string digits;
    bool operator==(const BigInteger&) const = default;
  };
  struct Items;
  Value(std::in_place_type_t<bool>, bool v) noexcept;
  Value(std::in_place_type_t<int64_t>, int64_t v) noexcept;
  Value(std::in_place_type_t<double>, double v) noexcept;
  template <class T>
  const T& get(std::string_view what, std::string_view expected) const;
  [[noreturn]] void fail_kind(std::string_view what, std::string_view expected) const;
  void print(std::string& out, size_t limit) const;
  friend struct ValueHash;

  std::variant<std::monostate, bool, int64_t, double, std::string, Bytes, BigInteger, DType, Device, Tensor,
               std::shared_ptr<Items>, std::shared_ptr<Dict>>
      data_;
};

extern template class OrderedDict<Value, Value, ValueHash>;

}  // namespace weft
