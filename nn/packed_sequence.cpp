#include "nn/packed_sequence.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "core/error.h"
#include "core/ops/index.h"
#include "core/ops/shape.h"
#include "core/ops/view.h"

namespace weft::nn::utils::rnn {
namespace {

// x with `before` and `after` values put around dimension `dim`.
Tensor padded(const Tensor& x, int dim, int64_t before, int64_t after, const Scalar& value) {
  if (before == 0 && after == 0) return x;
  std::vector<int64_t> amounts(static_cast<size_t>(2 * (x.dim() - dim)), 0);
  amounts[amounts.size() - 2] = before;
  amounts[amounts.size() - 1] = after;
  return pad(x, amounts, "constant", value);
}
// `x` with its first dimensions, `drop` of them, replaced by `lead`.
Tensor with_lead(const Tensor& x, const Dims& lead, int drop) {
  Dims sizes = lead;
  for (int d = drop; d < x.dim(); ++d) sizes.push_back(x.size(d));
  return x.reshape(sizes);
}
// Calls f(first step, steps, sequences) for runs of steps with equally many sequences.
template <class F>
void runs(const std::vector<int64_t>& batch_sizes, F f) {
  for (size_t t = 0, end; t < batch_sizes.size(); t = end) {
    for (end = t + 1; end < batch_sizes.size() && batch_sizes[end] == batch_sizes[t];) ++end;
    f(static_cast<int64_t>(t), static_cast<int64_t>(end - t), batch_sizes[t]);
  }
}

}  // namespace

Tensor pad_sequence(const std::vector<Tensor>& sequences, const PadSequenceOptions& o) {
  WEFT_CHECK(!sequences.empty(), "pad_sequence: needs at least one sequence");
  WEFT_CHECK(o.padding_side == "right" || o.padding_side == "left",
             "pad_sequence: padding_side is \"{}\"; give \"right\" or \"left\"", o.padding_side);
  int64_t longest = 0;
  for (const Tensor& s : sequences) {
    WEFT_CHECK(s.defined() && s.dim() >= 1, "pad_sequence: a sequence needs at least one dimension, got {}", s);
    longest = std::max(longest, s.size(0));
  }
  std::vector<Tensor> all;
  for (const Tensor& s : sequences) {
    const int64_t more = longest - s.size(0);
    const bool left = o.padding_side == "left";
    all.push_back(padded(s, 0, left ? more : 0, left ? 0 : more, o.padding_value));
  }
  return stack(all, o.batch_first ? 0 : 1);
}

PackedSequence pack_padded_sequence(const Tensor& x, const std::vector<int64_t>& lengths, const PackOptions& o) {
  WEFT_CHECK(x.defined() && x.dim() >= 2, "pack_padded_sequence: the input needs a time and a batch dimension, got {}",
             x);
  Tensor steps = o.batch_first ? x.transpose(0, 1) : x;
  WEFT_CHECK(static_cast<int64_t>(lengths.size()) == steps.size(1) && !lengths.empty(),
             "pack_padded_sequence: {} lengths for the {} sequences of {}", lengths.size(), steps.size(1), x);
  for (int64_t n : lengths)
    WEFT_CHECK(n > 0 && n <= steps.size(0), "pack_padded_sequence: a length is {}; those of {} lie in 1 to {}", n, x,
               steps.size(0));
  PackedSequence p;
  std::vector<int64_t> sorted = lengths;
  if (o.enforce_sorted) {
    WEFT_CHECK(std::is_sorted(lengths.begin(), lengths.end(), std::greater<>()),
               "pack_padded_sequence: the lengths grow; sort the sequences or give enforce_sorted = false");
  } else {
    std::vector<int64_t> order(lengths.size()), back(lengths.size());
    std::iota(order.begin(), order.end(), 0);
    auto length = [&](int64_t i) { return lengths[static_cast<size_t>(i)]; };
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return length(a) > length(b); });
    for (size_t i = 0; i < order.size(); ++i) {
      back[static_cast<size_t>(order[i])] = static_cast<int64_t>(i);
      sorted[i] = length(order[i]);
    }
    p.sorted_indices = tensor(order, {.device = x.device()});
    p.unsorted_indices = tensor(back, {.device = x.device()});
    steps = index_select(steps, 1, p.sorted_indices);
  }
  std::vector<int64_t> batch_sizes;
  for (int64_t t = 0; t < sorted[0]; ++t)
    batch_sizes.push_back(std::count_if(sorted.begin(), sorted.end(), [t](int64_t n) { return n > t; }));
  std::vector<Tensor> parts;
  runs(batch_sizes, [&](int64_t t, int64_t count, int64_t n) {
    parts.push_back(with_lead(steps.narrow(0, t, count).narrow(1, 0, n), {count * n}, 2));
  });
  p.data = cat(parts);
  p.batch_sizes = tensor(batch_sizes, {.device = DeviceType::cpu});
  return p;
}

PackedSequence pack_sequence(const std::vector<Tensor>& sequences, bool enforce_sorted) {
  const Tensor x = pad_sequence(sequences);
  std::vector<int64_t> lengths;
  for (const Tensor& s : sequences) lengths.push_back(s.size(0));
  return pack_padded_sequence(x, lengths, {.enforce_sorted = enforce_sorted});
}

std::pair<Tensor, Tensor> pad_packed_sequence(const PackedSequence& p, const UnpackOptions& o) {
  WEFT_CHECK(
      p.data.defined() && p.batch_sizes.defined() && p.batch_sizes.numel() > 0 && p.batch_sizes.dtype() == DType::i64,
      "pad_packed_sequence: a packed sequence needs data and the batch sizes of its steps (i64)");
  const Tensor dense_sizes = p.batch_sizes.to(Device()).contiguous();
  const std::vector<int64_t> sizes(detail::host_data<int64_t>(dense_sizes),
                                   detail::host_data<int64_t>(dense_sizes) + dense_sizes.numel());
  WEFT_CHECK(std::is_sorted(sizes.begin(), sizes.end(), std::greater<>()) && sizes.back() > 0 &&
                 std::accumulate(sizes.begin(), sizes.end(), int64_t{0}) == p.data.size(0),
             "pad_packed_sequence: the batch sizes must not grow and add up to the {} rows of the data",
             p.data.size(0));
  const int64_t steps = static_cast<int64_t>(sizes.size()), total = o.total_length.value_or(steps), batch = sizes[0];
  WEFT_CHECK(total >= steps, "pad_packed_sequence: total_length is {}, the longest sequence has {} steps", total,
             steps);
  std::vector<Tensor> parts;
  std::vector<int64_t> lengths(static_cast<size_t>(batch), 0);
  int64_t row = 0;
  runs(sizes, [&](int64_t, int64_t count, int64_t n) {
    const Tensor part = with_lead(p.data.narrow(0, row, count * n), {count, n}, 1);
    parts.push_back(padded(part, 1, 0, batch - n, o.padding_value));
    for (int64_t i = 0; i < n; ++i) lengths[static_cast<size_t>(i)] += count;
    row += count * n;
  });
  Tensor x = padded(cat(parts), 0, 0, total - steps, o.padding_value),
         ends = tensor(lengths, {.device = DeviceType::cpu});
  if (p.unsorted_indices.defined()) {
    x = index_select(x, 1, p.unsorted_indices);
    ends = index_select(ends, 0, p.unsorted_indices.to(DeviceType::cpu));  // lengths are the host's
  }
  return {o.batch_first ? x.transpose(0, 1) : x, ends};
}

}  // namespace weft::nn::utils::rnn
