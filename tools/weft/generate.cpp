#include "tools/weft/generate.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/error.h"
#include "core/ops/philox.h"
#include "core/thread_state.h"

namespace weft::models {
namespace {

constexpr uint64_t kStream = 2;  // of the random numbers of a seed: 1 makes batches; sequence b draws from kStream + b

void check(const Gpt& model, const Tensor& prompts, const GenerateOptions& o) {
  WEFT_CHECK(prompts.defined() && prompts.dim() == 2 && prompts.dtype() == DType::i64 && prompts.numel() > 0,
             "generate: needs prompts [batch, time] of i64, at least one symbol each, got {}", prompts);
  const int64_t low = prompts.min().item<int64_t>(), high = prompts.max().item<int64_t>();
  WEFT_CHECK(low >= 0 && high < model.options.vocab, "generate: the prompts hold {}, the vocabulary ends at {}",
             low < 0 ? low : high, model.options.vocab - 1);
  WEFT_CHECK(o.length >= 1, "generate: the length must be at least 1, got {}", o.length);
  WEFT_CHECK(std::isfinite(o.temperature) && o.temperature >= 0,
             "generate: the temperature must be finite and at least 0, got {}", o.temperature);
  WEFT_CHECK(o.top_k >= 0, "generate: top_k must be at least 0, got {}", o.top_k);
}

/// Draws from rows of logits.
class Drawer {
 public:
  Drawer(const GenerateOptions& o, int64_t vocab) : o_(o), order_(static_cast<size_t>(vocab)), weights_(order_.size()) {
    top_ = o.temperature == 0 ? 1 : o.top_k == 0 ? vocab : std::min(o.top_k, vocab);
  }

  /// logits: one for each of the vocabulary; symbol `index` of sequence `row`.
  int64_t operator()(const double* logits, int64_t row, int64_t index) {
    const double* end = logits + order_.size();
    WEFT_CHECK(std::all_of(logits, end, [](double v) { return std::isfinite(v); }),
               "generate: the model gives logits that are not finite");
    const double* likeliest = std::max_element(logits, end);
    if (top_ == 1) return likeliest - logits;
    std::iota(order_.begin(), order_.end(), int64_t{0});
    if (top_ < static_cast<int64_t>(order_.size())) {
      const auto likelier = [&](int64_t a, int64_t b) {
        return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
      };
      std::nth_element(order_.begin(), order_.begin() + top_, order_.end(), likelier);
      std::sort(order_.begin(), order_.begin() + top_);
    }
    double sum = 0;
    for (int64_t i = 0; i < top_; ++i)
      sum += weights_[static_cast<size_t>(i)] =
          std::exp((logits[order_[static_cast<size_t>(i)]] - *likeliest) / o_.temperature);
    const rng::Words w = rng::philox(o_.seed, static_cast<uint64_t>(index), kStream + static_cast<uint64_t>(row));
    double left = rng::unit(uint64_t{w.w[0]} << 32 | w.w[1]) * sum;
    for (int64_t i = 0; i + 1 < top_; ++i) {
      left -= weights_[static_cast<size_t>(i)];
      if (left < 0) return order_[static_cast<size_t>(i)];
    }
    return order_[static_cast<size_t>(top_ - 1)];
  }

 private:
  const GenerateOptions& o_;
  int64_t top_;
  std::vector<int64_t> order_;
  std::vector<double> weights_;
};

}  // namespace

Tensor generate(Gpt& model, const Tensor& prompts, const GenerateOptions& o) {
  check(model, prompts, o);
  const InferenceMode guard;
  const int64_t B = prompts.size(0), T = prompts.size(1), block = model.options.block;
  const Tensor all = empty({B, T + o.length}, {.dtype = DType::i64});  // on the host, where symbols are drawn
  all.narrow(1, 0, T).copy_(prompts);
  int64_t* symbols = detail::host_data<int64_t>(all);
  Drawer draw(o, model.options.vocab);
  std::vector<nn::KeyValueCache> caches = model.caches();
  // The window is [first, end); what the caches have of it ends at `known`.
  int64_t first = std::max<int64_t>(0, T - block), known = first;
  for (int64_t end = T; end < T + o.length; ++end) {
    if (end - first > block) {
      first = known = end - std::max<int64_t>(1, block / 2);
      for (nn::KeyValueCache& cache : caches) cache.truncate(0);
    }
    const int64_t from = o.cache ? known : first;
    const Tensor x = all.narrow(1, from, end - from).to(prompts.device());
    const Tensor y = (o.cache ? model(x, caches) : model(x)).select(1, -1);
    known = end;
    const Tensor logits = y.cpu().to(DType::f64).contiguous();
    for (int64_t b = 0; b < B; ++b)
      symbols[b * (T + o.length) + end] = draw(logits.data<double>() + b * logits.size(1), b, end - T);
  }
  return all.narrow(1, T, o.length).to(prompts.device()).contiguous();
}

}  // namespace weft::models
