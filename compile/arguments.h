#pragma once
#include <array>
#include <cstdint>
#include <cstring>
#include <tuple>
#include <type_traits>
#include <typeinfo>
#include <utility>
#include <vector>

#include "core/tensor.h"

// What a compiled function is called with and what it returns, freed from their types: direct replay (direct.h)
// compares the arguments of a call with those it has seen, and makes results of the same kind.
namespace weft::detail {

/// One argument. What it refers to must live as long as it is used.
struct Argument {
  enum class Kind : uint8_t {
    tensors,  ///< `count` of them from `at` on
    number,   ///< arithmetic, an enum or a Scalar: `words`
    module,   ///< with parameters: `at`, `bytes` of it, looked at by `look`
    unknown   ///< cannot be compared
  };
  Kind kind = Kind::unknown;
  bool lasts = false;  ///< an lvalue: still there after the call
  const void* at = nullptr;
  size_t count = 0, bytes = 0;
  std::array<uint64_t, 3> words{};
  void (*look)(const void* module, std::vector<uint64_t>& words) = nullptr;
};

inline void add_words(std::vector<uint64_t>& words, const Tensor& t) {
  const TensorImpl* p = t.impl();
  words.push_back(reinterpret_cast<uint64_t>(p));
  words.push_back(reinterpret_cast<uint64_t>(p->storage));
  words.push_back(static_cast<uint64_t>(p->dtype) << 1 | p->requires_grad);
  words.push_back(static_cast<uint64_t>(p->numel));
}

template <class M>
concept HasParameters = requires(M& m) {
  m.parameters();
  m.buffers();
  m.modules();
  m.is_training();
};

// Which parts a module has, whether they train, and its own bytes: numbers that are members are among them.
template <class M>
void look_at_module(const void* at, std::vector<uint64_t>& words) {
  M& module = *static_cast<M*>(const_cast<void*>(at));
  for (const auto* m : module.modules()) words.push_back(reinterpret_cast<uint64_t>(m) | m->is_training());
  for (const Tensor& t : module.parameters()) add_words(words, t);
  for (const Tensor& t : module.buffers()) add_words(words, t);
  const size_t first = words.size();
  words.resize(first + (sizeof(M) + 7) / 8);
  std::memcpy(&words[first], at, sizeof(M));
}

template <class T>
Argument describe_argument(T& value, bool lasts) {
  using V = std::remove_cv_t<T>;
  Argument a;
  a.lasts = lasts;
  a.at = &value;
  if constexpr (std::is_base_of_v<Tensor, V>) {
    a.kind = Argument::Kind::tensors;
    a.count = 1;
  } else if constexpr (std::is_same_v<V, std::vector<Tensor>>) {
    a.kind = Argument::Kind::tensors;
    a.at = value.data();
    a.count = value.size();
  } else if constexpr (std::is_same_v<V, Scalar>) {
    a.kind = Argument::Kind::number;
    a.words[0] = static_cast<uint64_t>(value.i64());
    const double d = value.f64();
    std::memcpy(&a.words[1], &d, sizeof d);
    a.words[2] = static_cast<uint64_t>(value.dtype());
  } else if constexpr ((std::is_arithmetic_v<V> || std::is_enum_v<V>)&&sizeof(V) <= 8) {
    a.kind = Argument::Kind::number;
    const V copy = value;
    std::memcpy(a.words.data(), &copy, sizeof copy);
  } else if constexpr (HasParameters<V>) {
    a.kind = Argument::Kind::module;
    a.bytes = sizeof(V);
    a.look = look_at_module<V>;
  }
  return a;
}

/// Results that hold Tensors and nothing else: how to list them, and how to make one of a list.
template <class R>
struct ResultOf {
  static constexpr bool known = false;
};
template <>
struct ResultOf<void> {
  static constexpr bool known = true;
};
template <>
struct ResultOf<Tensor> {
  static constexpr bool known = true;
  static void list(const Tensor& r, std::vector<Tensor>& to) { to.push_back(r); }
  static Tensor make(std::vector<Tensor>& from) { return std::move(from[0]); }
};
template <>
struct ResultOf<std::vector<Tensor>> {
  static constexpr bool known = true;
  static void list(const std::vector<Tensor>& r, std::vector<Tensor>& to) { to.insert(to.end(), r.begin(), r.end()); }
  static std::vector<Tensor> make(std::vector<Tensor>& from) { return std::move(from); }
};
template <class R, class Indices>
struct TupleResult;
template <class R, size_t... I>
struct TupleResult<R, std::index_sequence<I...>> {
  static constexpr bool known = (std::is_same_v<std::tuple_element_t<I, R>, Tensor> && ...);
  static void list(const R& r, std::vector<Tensor>& to) { (to.push_back(std::get<I>(r)), ...); }
  static R make(std::vector<Tensor>& from) { return R{std::move(from[I])...}; }
};
template <class... T>
struct ResultOf<std::tuple<T...>> : TupleResult<std::tuple<T...>, std::index_sequence_for<T...>> {};
template <class A, class B>
struct ResultOf<std::pair<A, B>> : TupleResult<std::pair<A, B>, std::make_index_sequence<2>> {};
template <size_t N>
struct ResultOf<std::array<Tensor, N>> : TupleResult<std::array<Tensor, N>, std::make_index_sequence<N>> {};

/// A function without state of its own: nothing that it captured can change.
template <class F>
inline constexpr bool captures_nothing = std::is_empty_v<F> ||
                                         (std::is_pointer_v<F> && std::is_function_v<std::remove_pointer_t<F>>);

}  // namespace weft::detail
