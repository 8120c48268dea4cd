#pragma once
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/tensor.h"
#include "core/value.h"

// A dataset is any type with
//     Sample get(int64_t index) const;             // or get(index, std::stop_token)
//     int64_t size() const;
// called by several threads at once, and optionally
//     Batch get_batch(std::span<const int64_t> indices) const;   // a whole batch at once; no collate then
//     bool gathers() const;                                      // whether get_batch is to be used; default true
// A stream (IterableDataset) is any copyable type with
//     std::optional<Sample> next();                // nothing: the end
// Each epoch reads a copy of it; its samples are numbered, and every one is delivered once, in order, by any number of
// workers: they take turns in reading. `void skip(int64_t n)`, where it exists, serves to resume faster.
namespace weft::data {

template <class D>
concept IndexedDataset = requires(const D& d) {
  { d.size() } -> std::convertible_to<int64_t>;
}
&&(
    requires(const D& d) { d.get(int64_t{0}); } || requires(const D& d) { d.get(int64_t{0}, std::stop_token()); });

template <class D>
concept IterableDataset = !IndexedDataset<D> && std::copy_constructible<D> && requires(D & d) {
  { d.next().has_value() } -> std::convertible_to<bool>;
};

template <class D>
concept GatheringDataset = IndexedDataset<D> && requires(const D& d, std::span<const int64_t> indices) {
  d.get_batch(indices);
};

/// A sample of an indexed dataset; `stop` reaches a get() that takes it.
template <IndexedDataset D>
decltype(auto) get_sample(const D& d, int64_t index, const std::stop_token& stop = {}) {
  if constexpr (requires { d.get(index, stop); })
    return d.get(index, stop);
  else
    return d.get(index);
}

namespace detail {

template <class D>
struct SampleType {};
template <IndexedDataset D>
struct SampleType<D> {
  using type = std::remove_cvref_t<decltype(get_sample(std::declval<const D&>(), 0))>;
};
template <IterableDataset D>
struct SampleType<D> {
  using type = std::remove_cvref_t<decltype(*std::declval<D&>().next())>;
};
/// Calls f with a sample, or with its parts where it is a pair or tuple and f takes those.
template <class F, class S>
decltype(auto) apply_to_sample(const F& f, S&& sample) {
  if constexpr (std::is_invocable_v<const F&, S&&>)
    return f(std::forward<S>(sample));
  else
    return std::apply(f, std::forward<S>(sample));
}
/// A get_batch that gathers where it can.
template <class D>
bool gathers(const D& d) {
  if constexpr (requires { d.gathers(); })
    return d.gathers();
  else
    return GatheringDataset<D>;
}
int64_t checked_index(int64_t index, int64_t size, const char* what);
Tensor gather_rows(const Tensor& rows, std::span<const int64_t> indices);
void check_columns(std::span<const Tensor> columns);

}  // namespace detail

template <class D>
using SampleOf = typename detail::SampleType<D>::type;

/// Sample i: row i of each tensor, as a tuple. All have the same first dimension. Batches are gathered at once.
template <size_t N>
class TensorDataset {
 public:
  template <std::same_as<Tensor>... T>
  requires(sizeof...(T) == N && N > 0) explicit TensorDataset(T... tensors) : tensors_{std::move(tensors)...} {
    detail::check_columns(tensors_);
  }
  int64_t size() const { return tensors_[0].size(0); }
  auto get(int64_t index) const {
    index = detail::checked_index(index, size(), "TensorDataset");
    return each([&](const Tensor& t) { return t.select(0, index); });
  }
  auto get_batch(std::span<const int64_t> indices) const {
    return each([&](const Tensor& t) { return detail::gather_rows(t, indices); });
  }
  const Tensor& tensor(size_t i) const { return tensors_[i]; }

 private:
  template <class F>
  auto each(const F& f) const {
    return [&]<size_t... I>(std::index_sequence<I...>) { return std::tuple{f(tensors_[I])...}; }
    (std::make_index_sequence<N>());
  }
  Tensor tensors_[N];
};
template <std::same_as<Tensor>... T>
TensorDataset(T...) -> TensorDataset<sizeof...(T)>;

/// A TensorDataset of tensors in a file: `tensor_dataset(load("digits.npz"), "x", "y")`.
template <std::convertible_to<std::string_view>... Name>
TensorDataset<sizeof...(Name)> tensor_dataset(const Value& arrays, const Name&... names) {
  return TensorDataset<sizeof...(Name)>(arrays.at(std::string(names)).as_tensor(names)...);
}

/// f(sample) for each sample of a dataset or stream; f may take the parts of a pair or tuple. In a stream f runs on all
/// workers, though reading is one after the other. f is called by several threads at once; its random numbers are those
/// of the sample (README).
template <class D, class F>
class MapDataset {
 public:
  MapDataset(D dataset, F f) : dataset_(std::move(dataset)), f_(std::move(f)) {}

  int64_t size() const requires IndexedDataset<D> { return dataset_.size(); }
  auto get(int64_t index, const std::stop_token& stop = {}) const requires IndexedDataset<D> {
    return detail::apply_to_sample(f_, get_sample(dataset_, index, stop));
  }

  /// The two halves of next(): reading, in order, and what may run in parallel.
  auto pull() requires IterableDataset<D> {
    if constexpr (requires(D & d) { d.pull(); })
      return dataset_.pull();
    else
      return dataset_.next();
  }
  template <class Raw>
  auto finish(Raw&& raw) const requires IterableDataset<D> {
    if constexpr (requires(D & d) { d.pull(); })
      return detail::apply_to_sample(f_, dataset_.finish(std::forward<Raw>(raw)));
    else
      return detail::apply_to_sample(f_, std::forward<Raw>(raw));
  }
  auto next() requires IterableDataset<D> {
    auto raw = pull();
    using Out = std::remove_cvref_t<decltype(finish(std::move(*raw)))>;
    return raw ? std::optional<Out>(finish(std::move(*raw))) : std::nullopt;
  }

 private:
  D dataset_;
  F f_;
};

/// Some samples of a dataset, by index.
template <IndexedDataset D>
class Subset {
 public:
  Subset(D dataset, std::vector<int64_t> indices) : dataset_(std::move(dataset)), indices_(std::move(indices)) {
    for (const int64_t i : indices_) detail::checked_index(i, dataset_.size(), "Subset");
  }
  int64_t size() const { return static_cast<int64_t>(indices_.size()); }
  auto get(int64_t index, const std::stop_token& stop = {}) const { return get_sample(dataset_, at(index), stop); }
  auto get_batch(std::span<const int64_t> indices) const requires GatheringDataset<D> {
    std::vector<int64_t> mapped;
    mapped.reserve(indices.size());
    for (const int64_t i : indices) mapped.push_back(at(i));
    return dataset_.get_batch(mapped);
  }
  bool gathers() const { return detail::gathers(dataset_); }
  const std::vector<int64_t>& indices() const { return indices_; }

 private:
  int64_t at(int64_t index) const {
    return indices_[static_cast<size_t>(detail::checked_index(index, size(), "Subset"))];
  }
  D dataset_;
  std::vector<int64_t> indices_;
};

/// Datasets of one kind of sample, one after the other.
template <IndexedDataset... D>
class ConcatDataset {
 public:
  using Sample = SampleOf<std::tuple_element_t<0, std::tuple<D...>>>;
  static_assert((std::same_as<SampleOf<D>, Sample> && ...), "ConcatDataset: the samples must be of one type");
  explicit ConcatDataset(D... datasets) : datasets_(std::move(datasets)...) {}
  int64_t size() const {
    return std::apply([](const auto&... d) { return (int64_t{0} + ... + static_cast<int64_t>(d.size())); }, datasets_);
  }
  Sample get(int64_t index, const std::stop_token& stop = {}) const {
    return pick<0>(detail::checked_index(index, size(), "ConcatDataset"), stop);
  }

 private:
  template <size_t I>
  Sample pick(int64_t index, const std::stop_token& stop) const {
    const auto& d = std::get<I>(datasets_);
    if constexpr (I + 1 < sizeof...(D))
      if (index >= d.size()) return pick<I + 1>(index - d.size(), stop);
    return get_sample(d, index, stop);
  }
  std::tuple<D...> datasets_;
};

/// Streams of one kind of sample, one after the other.
template <IterableDataset... D>
class ChainDataset {
 public:
  using Sample = SampleOf<std::tuple_element_t<0, std::tuple<D...>>>;
  static_assert((std::same_as<SampleOf<D>, Sample> && ...), "ChainDataset: the samples must be of one type");
  explicit ChainDataset(D... datasets) : datasets_(std::move(datasets)...) {}
  std::optional<Sample> next() { return pick<0>(); }

 private:
  template <size_t I>
  std::optional<Sample> pick() {
    if constexpr (I == sizeof...(D)) {
      return std::nullopt;
    } else {
      if (at_ == I) {
        if (auto sample = std::get<I>(datasets_).next()) return sample;
        ++at_;
      }
      return pick<I + 1>();
    }
  }
  std::tuple<D...> datasets_;
  size_t at_ = 0;
};

namespace detail {
std::vector<std::vector<int64_t>> random_parts(int64_t size, std::vector<int64_t> lengths,
                                               std::optional<uint64_t> seed);
std::vector<int64_t> part_lengths(int64_t size, const std::vector<double>& fractions);
}  // namespace detail

/// Disjoint parts in random order. Lengths (integers) sum to the size; fractions (floats) to 1, and what is left by
/// rounding goes to the first parts, one sample each. Without a seed: from default_generator().
template <IndexedDataset D, class T>
requires std::is_arithmetic_v<T> std::vector<Subset<D>> random_split(const D& dataset, const std::vector<T>& parts,
                                                                     std::optional<uint64_t> seed = {}) {
  std::vector<int64_t> lengths;
  if constexpr (std::is_floating_point_v<T>)
    lengths = detail::part_lengths(dataset.size(), {parts.begin(), parts.end()});
  else
    lengths.assign(parts.begin(), parts.end());
  std::vector<Subset<D>> out;
  for (auto& part : detail::random_parts(dataset.size(), lengths, seed)) out.emplace_back(dataset, std::move(part));
  return out;
}
template <IndexedDataset D, class T>
std::vector<Subset<D>> random_split(const D& dataset, std::initializer_list<T> parts,
                                    std::optional<uint64_t> seed = {}) {
  return random_split(dataset, std::vector<T>(parts), seed);
}

}  // namespace weft::data
