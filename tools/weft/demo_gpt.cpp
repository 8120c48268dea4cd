#include <fmt/format.h>

#include <algorithm>

#include "autograd/autograd.h"
#include "core/error.h"
#include "core/ops/loss_api.h"
#include "core/ops/philox.h"
#include "tools/weft/demo.h"
#include "tools/weft/demo_text.h"
#include "tools/weft/demo_write.h"
#include "tools/weft/models.h"

namespace weft::demo {
namespace {

constexpr int64_t kEvaluatedWindows = 256, kMostWindows = 4096;
constexpr int64_t kEvaluationBatch = 32;
constexpr uint64_t kBatchStream = 1;  // of the random numbers of the seed

/// Where the windows of a batch begin: an endless stream, the i-th place a function of the seed and i.
class Starts {
 public:
  Starts(uint64_t seed, int64_t places) : seed_(seed), places_(static_cast<uint64_t>(places)) {}
  std::optional<int64_t> next() {
    const rng::Words w = rng::philox(seed_, at_++, kBatchStream);
    return static_cast<int64_t>(rng::below(uint64_t{w.w[0]} << 32 | w.w[1], places_));
  }
  void skip(int64_t n) { at_ += static_cast<uint64_t>(n); }

 private:
  uint64_t seed_, places_, at_ = 0;
};

class Gpt : public Task {
 public:
  explicit Gpt(const Settings& s)
      : settings_(s),
        corpus_(read_corpus(s.text)),
        model_({.vocab = static_cast<int64_t>(corpus_.vocabulary.size()),
                .block = s.block,
                .layers = s.layers,
                .heads = s.heads,
                .embd = s.embd}) {
    prompt_ = prompt_symbols(s, corpus_.vocabulary);
    const int64_t n = length(), least = 2 * (s.block + 1);
    WEFT_CHECK(n >= least,
               "gpt: the text has {} characters, --block {} needs {}; give a longer text or a smaller --block", n,
               s.block, least);
    train_ = std::min(n - n / 10, n - s.block - 1);
    feed_.emplace(Starts(static_cast<uint64_t>(s.seed), train_ - s.block),
                  Feed<Starts>::Loader::Options{
                      .batch_size = s.batch,
                      .num_workers = s.workers,
                      .collate = [this](const std::vector<int64_t>& starts) { return batch_at(starts); },
                      .pin_memory = device_.is_cuda(),
                      .device = device_,
                      .persistent_workers = s.workers > 0,
                      .seed = static_cast<uint64_t>(s.seed)});
  }

  models::Model& model() override { return model_; }
  Batch next() override { return feed_->next(); }
  Tensor loss(const Batch& b) override { return cross_entropy(model_(b.x).flatten(0, 1), b.y.flatten()); }
  void add_to(TrainState& state) override { state.add("loader_state_dict", *feed_); }

  Score evaluate(bool all) override {
    const int64_t T = settings_.block, windows = (length() - train_ - 1) / T;
    const int64_t count = std::min(windows, all ? kMostWindows : kEvaluatedWindows);
    NoGrad guard;
    double sum = 0;
    for (int64_t at = 0; at < count; at += kEvaluationBatch) {
      std::vector<int64_t> starts;
      for (int64_t i = at; i < std::min(count, at + kEvaluationBatch); ++i)
        starts.push_back(train_ + i * windows / count * T);
      const Batch b = batch_at(starts);
      sum += loss({b.x.to(device_), b.y.to(device_)}).item<double>() * static_cast<double>(starts.size());
    }
    return {.loss = sum / static_cast<double>(count)};
  }

  Shown show() override { return write(model_, corpus_.vocabulary, prompt_, settings_); }

  double epochs(int64_t batches) const override {
    return static_cast<double>(batches) * static_cast<double>(units_per_batch()) / static_cast<double>(train_);
  }
  const char* unit() const override { return "tokens"; }
  int64_t units_per_batch() const override { return settings_.batch * settings_.block; }
  std::string dataset() const override {
    return fmt::format("{} characters, {} different, CRC-32 {:08x}", length(), corpus_.vocabulary.size(),
                       corpus_.checksum);
  }
  Value extra() const override { return {{"vocabulary", to_utf8(corpus_.vocabulary)}}; }

 private:
  int64_t length() const { return static_cast<int64_t>(corpus_.symbols.size()); }

  /// The windows that begin at `starts`, and the character behind each of theirs. Called by several threads.
  Batch batch_at(const std::vector<int64_t>& starts) const {
    const int64_t B = static_cast<int64_t>(starts.size()), T = settings_.block;
    const Tensor x = empty({B, T}, {.dtype = DType::i64}), y = empty({B, T}, {.dtype = DType::i64});
    for (int64_t b = 0; b < B; ++b) {
      const int32_t* from = corpus_.symbols.data() + starts[static_cast<size_t>(b)];
      std::copy_n(from, T, weft::detail::host_data<int64_t>(x) + b * T);
      std::copy_n(from + 1, T, weft::detail::host_data<int64_t>(y) + b * T);
    }
    return {x, y};
  }

  Settings settings_;
  Device device_{settings_.device};
  Corpus corpus_;
  models::Gpt model_;
  std::vector<int64_t> prompt_;  ///< of the text it writes at the end
  int64_t train_ = 0;            ///< characters to train on; the rest is for validation
  std::optional<Feed<Starts>> feed_;
};

}  // namespace

std::unique_ptr<Task> make_gpt(const Settings& s) { return std::make_unique<Gpt>(s); }

}  // namespace weft::demo
