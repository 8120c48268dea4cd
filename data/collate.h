#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <type_traits>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/tensor.h"
#include "data/fields.h"

// Samples become a batch as torch.utils.data.default_collate makes it: tensors of one shape and dtype are stacked along
// a new first dimension; integers become an i64 tensor, floats f64, bools bool; pairs, tuples, vectors, maps and plain
// structs of those are batched member by member; text becomes a vector of strings, and so does anything else.
namespace weft::data {
namespace detail {

/// Tensors of one shape, dtype and device along a new first dimension. weft::Error naming the sample that differs.
Tensor collate_tensors(const std::vector<Tensor>& samples);
Tensor collate_numbers(const std::vector<int64_t>& samples);
Tensor collate_numbers(const std::vector<double>& samples);
Tensor collate_bools(const std::vector<bool>& samples);
[[noreturn]] void fail_collate_sizes(size_t first, size_t other, size_t sample);
[[noreturn]] void fail_collate_keys(size_t sample);

/// Anything else stays a list.
template <class T>
struct Collate {
  using Batch = std::vector<T>;
  static Batch apply(std::vector<T>&& samples) { return std::move(samples); }
};
template <class T>
using BatchOf = typename Collate<T>::Batch;

template <>
struct Collate<Tensor> {
  using Batch = Tensor;
  static Batch apply(std::vector<Tensor>&& samples) { return collate_tensors(samples); }
};
template <class T>
requires std::is_arithmetic_v<T>
struct Collate<T> {
  using Batch = Tensor;
  static Batch apply(std::vector<T>&& samples) {
    if constexpr (std::is_same_v<T, bool>)
      return collate_bools(samples);
    else if constexpr (std::is_floating_point_v<T>)
      return collate_numbers(std::vector<double>(samples.begin(), samples.end()));
    else
      return collate_numbers(std::vector<int64_t>(samples.begin(), samples.end()));
  }
};

/// Batches what `part` takes out of each sample.
template <class T, class S, class F>
BatchOf<T> collate_part(std::vector<S>& samples, F part) {
  std::vector<T> taken;
  taken.reserve(samples.size());
  for (S& s : samples) taken.push_back(std::move(part(s)));
  return Collate<T>::apply(std::move(taken));
}

template <class A, class B>
struct Collate<std::pair<A, B>> {
  using Batch = std::pair<BatchOf<A>, BatchOf<B>>;
  static Batch apply(std::vector<std::pair<A, B>>&& samples) {
    using S = std::pair<A, B>;
    return {collate_part<A>(samples, [](S& s) -> A& { return s.first; }),
            collate_part<B>(samples, [](S& s) -> B& { return s.second; })};
  }
};
template <class... T>
struct Collate<std::tuple<T...>> {
  using Batch = std::tuple<BatchOf<T>...>;
  static Batch apply(std::vector<std::tuple<T...>>&& samples) {
    return [&]<size_t... I>(std::index_sequence<I...>) {
      return Batch{collate_part<T>(samples, [](std::tuple<T...>& s) -> T& { return std::get<I>(s); })...};
    }
    (std::index_sequence_for<T...>());
  }
};
template <class T>
struct Collate<std::vector<T>> {
  using Batch = std::vector<BatchOf<T>>;
  static Batch apply(std::vector<std::vector<T>>&& samples) {
    Batch out;
    const size_t n = samples.empty() ? 0 : samples[0].size();
    for (size_t i = 0; i < samples.size(); ++i)
      if (samples[i].size() != n) fail_collate_sizes(n, samples[i].size(), i);
    for (size_t k = 0; k < n; ++k) {
      std::vector<T> taken;
      for (std::vector<T>& s : samples) taken.push_back(std::move(s[k]));
      out.push_back(Collate<T>::apply(std::move(taken)));
    }
    return out;
  }
};
template <template <class...> class Map, class K, class T>
struct CollateMap {
  using Batch = Map<K, BatchOf<T>>;
  static Batch apply(std::vector<Map<K, T>>&& samples) {
    Batch out;
    if (samples.empty()) return out;
    for (size_t i = 0; i < samples.size(); ++i) {
      if (samples[i].size() != samples[0].size()) fail_collate_keys(i);
      for (const auto& [key, value] : samples[0])
        if (samples[i].find(key) == samples[i].end()) fail_collate_keys(i);
    }
    for (const auto& [key, value] : samples[0]) {
      std::vector<T> taken;  // copies: `samples[0]` is being walked
      for (Map<K, T>& s : samples) taken.push_back(s.at(key));
      out.emplace(key, Collate<T>::apply(std::move(taken)));
    }
    return out;
  }
};
template <class K, class T>
struct Collate<std::map<K, T>> : CollateMap<std::map, K, T> {};
template <class K, class T>
struct Collate<std::unordered_map<K, T>> : CollateMap<std::unordered_map, K, T> {};

/// A struct whose members are batched into themselves (tensors, structs of tensors, ...) gives the same struct.
template <Fields S>
struct Collate<S> {
  using Batch = S;
  static Batch apply(std::vector<S>&& samples) {
    Batch out;
    [&]<size_t... I>(std::index_sequence<I...>) { (collate_member<I>(samples, out), ...); }
    (std::make_index_sequence<count_fields<S>()>());
    return out;
  }

 private:
  template <size_t I>
  static void collate_member(std::vector<S>& samples, S& out) {
    using T = std::remove_reference_t<std::tuple_element_t<I, decltype(fields(out))>>;
    static_assert(
        std::is_same_v<BatchOf<T>, T>,
        "members of a struct sample must be tensors, or structs, vectors or maps of tensors; give a `collate`");
    std::get<I>(fields(out)) = collate_part<T>(samples, [](S& s) -> T& { return std::get<I>(fields(s)); });
  }
};

// ---- the tensors inside a batch

template <class T>
struct IsVector : std::false_type {};
template <class T>
struct IsVector<std::vector<T>> : std::true_type {};
template <class T>
concept TupleLike = requires {
  std::tuple_size<T>::value;
};
template <class T>
concept MapLike = requires(T& t) {
  typename T::mapped_type;
  t.begin()->second;
};

/// Calls f(Tensor&) for every tensor in a batch, and g(std::string&) for every text.
template <class T, class F>
void for_each_tensor(T& batch, const F& f) {
  if constexpr (std::is_same_v<T, Tensor>) {
    f(batch);
  } else if constexpr (TupleLike<T>) {
    std::apply([&](auto&... part) { (for_each_tensor(part, f), ...); }, batch);
  } else if constexpr (IsVector<T>::value) {
    if constexpr (!std::is_same_v<typename T::value_type, bool>)
      for (auto& part : batch) for_each_tensor(part, f);
  } else if constexpr (MapLike<T>) {
    for (auto& item : batch) for_each_tensor(item.second, f);
  } else if constexpr (Fields<T>) {
    std::apply([&](auto&... part) { (for_each_tensor(part, f), ...); }, fields(batch));
  }
}

}  // namespace detail

/// The batch that default_collate makes of samples of type T.
template <class T>
using Batch = detail::BatchOf<T>;

/// Samples as one batch (torch.utils.data.default_collate). weft::Error when their shapes, dtypes, lengths or keys
/// differ.
template <class T>
Batch<T> default_collate(std::vector<T> samples) {
  return detail::Collate<T>::apply(std::move(samples));
}

}  // namespace weft::data
