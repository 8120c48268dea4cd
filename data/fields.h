#pragma once
#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

// The members of a plain struct as a tuple of references: how samples that are structs are batched.
namespace weft::data::detail {

template <class S>
struct AnyField {
  template <class T>
  requires(!std::is_same_v<std::remove_cvref_t<T>, S>) operator T() const;
};

template <class S, size_t... I>
constexpr bool takes_fields(std::index_sequence<I...>) {
  return requires { S{(static_cast<void>(I), AnyField<S>{})...}; };
}
inline constexpr size_t kMaxFields = 8;
template <class S, size_t N = kMaxFields>
constexpr size_t count_fields() {
  if constexpr (N == 0)
    return 0;
  else if constexpr (takes_fields<S>(std::make_index_sequence<N>()))
    return N;
  else
    return count_fields<S, N - 1>();
}

/// A plain struct of one to eight members.
template <class S>
concept Fields = std::is_class_v<S> && std::is_aggregate_v<S> && !requires {
  std::tuple_size<S>::value;
}
&&!takes_fields<S>(std::make_index_sequence<kMaxFields + 1>()) && (count_fields<S>() > 0);

template <class S>
auto fields(S& s) {
  constexpr size_t n = count_fields<std::remove_const_t<S>>();
  if constexpr (n == 1) {
    auto& [a] = s;
    return std::tie(a);
  } else if constexpr (n == 2) {
    auto& [a, b] = s;
    return std::tie(a, b);
  } else if constexpr (n == 3) {
    auto& [a, b, c] = s;
    return std::tie(a, b, c);
  } else if constexpr (n == 4) {
    auto& [a, b, c, d] = s;
    return std::tie(a, b, c, d);
  } else if constexpr (n == 5) {
    auto& [a, b, c, d, e] = s;
    return std::tie(a, b, c, d, e);
  } else if constexpr (n == 6) {
    auto& [a, b, c, d, e, f] = s;
    return std::tie(a, b, c, d, e, f);
  } else if constexpr (n == 7) {
    auto& [a, b, c, d, e, f, g] = s;
    return std::tie(a, b, c, d, e, f, g);
  } else {
    auto& [a, b, c, d, e, f, g, h] = s;
    return std::tie(a, b, c, d, e, f, g, h);
  }
}

}  // namespace weft::data::detail
