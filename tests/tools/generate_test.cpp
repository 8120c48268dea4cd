#include "tools/weft/generate.h"

#include <algorithm>
#include <limits>
#include <tuple>

#include "core/error.h"
#include "optim/adam.h"
#include "tests/catch.h"
#include "weft.h"

using namespace weft;
using Catch::Matchers::Contains;

namespace {

constexpr int64_t kVocab = 11, kBlock = 12;

models::Gpt small() { return models::Gpt({.vocab = kVocab, .block = kBlock, .layers = 2, .heads = 2, .embd = 16}); }

// Has learnt sequences in which a symbol follows from the two before it.
models::Gpt trained() {
  manual_seed(1);
  models::Gpt model = small();
  optim::AdamW optimizer(model.parameters(), {.lr = 1e-2});
  for (int step = 0; step < 60; ++step) {
    std::vector<int64_t> x, y;
    for (int64_t b = 0; b < 8; ++b) {
      std::vector<int64_t> s{(step + b) % kVocab, (3 * step + 5 * b) % kVocab};
      while (s.size() < kBlock + 1) s.push_back((s[s.size() - 1] + 2 * s[s.size() - 2] + 1) % kVocab);
      x.insert(x.end(), s.begin(), s.end() - 1);
      y.insert(y.end(), s.begin() + 1, s.end());
    }
    const Tensor loss = cross_entropy(model(tensor(x).view({8, kBlock})).flatten(0, 1), tensor(y));
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
  }
  return model;
}

Tensor symbol(int64_t s) { return full({1, 1}, s, {.dtype = DType::i64}); }

std::vector<int64_t> numbers(const Tensor& t) {
  const Tensor c = t.contiguous();
  return {c.data<int64_t>(), c.data<int64_t>() + c.numel()};
}

// The rule of the docstring, word for word, one sequence at a time.
std::vector<int64_t> greedy(models::Gpt& model, std::vector<int64_t> text, int64_t length) {
  const InferenceMode guard;
  size_t first = text.size() > kBlock ? text.size() - kBlock : 0;
  const size_t given = text.size();
  for (int64_t i = 0; i < length; ++i) {
    if (text.size() - first > kBlock) first = text.size() - kBlock / 2;
    const std::vector<int64_t> seen(text.begin() + static_cast<int64_t>(first), text.end());
    text.push_back(model(tensor(seen).unsqueeze(0)).select(1, -1).argmax(-1).item<int64_t>());
  }
  return {text.begin() + static_cast<int64_t>(given), text.end()};
}

}  // namespace

TEST_CASE("Gpt: logits with caches are close to those of the whole sequence") {
  models::Gpt model = trained();
  const Tensor x = randint(0, kVocab, {3, kBlock});
  const InferenceMode guard;
  const Tensor want = model(x);
  for (const int64_t first : {int64_t{1}, int64_t{5}, kBlock}) {
    std::vector<nn::KeyValueCache> caches = model.caches();
    std::vector<Tensor> got{model(x.narrow(1, 0, first), caches)};
    for (int64_t i = first; i < kBlock; ++i) got.push_back(model(x.narrow(1, i, 1), caches));
    CHECK(allclose(cat(got, 1), want, 1e-4, 1e-4));
  }
  std::vector<nn::KeyValueCache> caches = model.caches();
  model(x, caches);
  CHECK_THROWS_WITH(model(x.narrow(1, 0, 1), caches), Contains("at most 0 in time"));
  caches.pop_back();
  CHECK_THROWS_WITH(model(x, caches), Contains("1 caches for 2 blocks"));
}

TEST_CASE("generate: the same text with and without a cache, far beyond the block, for every sequence of a batch") {
  models::Gpt model = trained();
  for (const int64_t given : {1, 5, 12, 20}) {
    const Tensor prompts = randint(0, kVocab, {3, given});
    const Tensor with = models::generate(model, prompts, {.length = 50, .temperature = 0});
    CHECK(with.sizes() == Dims{3, 50});
    CHECK(equal(with, models::generate(model, prompts, {.length = 50, .temperature = 0, .cache = false})));
    for (int64_t b = 0; b < 3; ++b)
      CHECK(numbers(with.select(0, b)) == greedy(model, numbers(prompts.select(0, b)), 50));
  }
  const Tensor prompts = randint(0, kVocab, {4, 3});
  for (const int64_t top_k : {0, 3}) {
    const models::GenerateOptions o{.length = 40, .temperature = 0.7, .top_k = top_k, .seed = 5};
    models::GenerateOptions plain = o;
    plain.cache = false;
    const Tensor text = models::generate(model, prompts, o);
    CHECK(equal(text, models::generate(model, prompts, plain)));
    // The first sequence does not depend on how many there are.
    CHECK(equal(text.narrow(0, 0, 1), models::generate(model, prompts.narrow(0, 0, 1), o)));
  }
  models::Gpt narrow({.vocab = 3, .block = 1, .layers = 1, .heads = 1, .embd = 4});
  CHECK(models::generate(narrow, randint(0, 3, {1, 4}), {.length = 5}).size(1) == 5);
}

TEST_CASE("generate: temperature and top_k") {
  manual_seed(3);
  models::Gpt model = small();  // not trained: nearly uniform logits
  const Tensor prompt = symbol(4);
  const auto distinct = [&](const models::GenerateOptions& o) {
    std::vector<int64_t> n = numbers(models::generate(model, prompt, o));
    std::sort(n.begin(), n.end());
    return std::unique(n.begin(), n.end()) - n.begin();
  };
  CHECK(distinct({.length = 300, .temperature = 1}) == kVocab);
  const auto one = [&](const models::GenerateOptions& o) { return numbers(models::generate(model, prompt, o)); };
  const std::vector<int64_t> best = one({.length = 30, .temperature = 0});
  CHECK(one({.length = 30, .temperature = 2, .top_k = 1}) == best);
  CHECK(one({.length = 30, .temperature = 1e-9}) == best);
  CHECK(one({.length = 30, .top_k = 1000}) == one({.length = 30}));
  CHECK(one({.length = 30, .seed = 2}) != one({.length = 30}));
  // The first symbol: only the two likeliest, both of them.
  const InferenceMode guard;
  std::vector<int64_t> drawn;
  for (uint64_t seed = 0; seed < 40; ++seed)
    drawn.push_back(one({.length = 1, .temperature = 1, .top_k = 2, .seed = seed})[0]);
  const std::vector<int64_t> likeliest = numbers(std::get<1>(topk(model(prompt).select(1, -1), 2)));
  for (const int64_t d : drawn) CHECK(std::count(likeliest.begin(), likeliest.end(), d) == 1);
  for (const int64_t l : likeliest) CHECK(std::count(drawn.begin(), drawn.end(), l) > 0);
}

TEST_CASE("generate: what it refuses") {
  models::Gpt model = small();
  const Tensor prompt = symbol(4);
  const auto refused = [&](const Tensor& p, const models::GenerateOptions& o, const char* text) {
    CHECK_THROWS_WITH(models::generate(model, p, o), Contains("generate: ") && Contains(text));
  };
  refused({}, {}, "needs prompts [batch, time]");
  refused(symbol(4).squeeze(0), {}, "needs prompts [batch, time]");
  refused(empty({1, 0}, {.dtype = DType::i64}), {}, "at least one symbol");
  refused(ones({1, 1}), {}, "of i64");
  refused(symbol(kVocab), {}, "the prompts hold 11, the vocabulary ends at 10");
  refused(symbol(-1), {}, "the prompts hold -1");
  refused(prompt, {.length = 0}, "the length must be at least 1, got 0");
  refused(prompt, {.length = -3}, "got -3");
  refused(prompt, {.temperature = -1}, "temperature");
  refused(prompt, {.temperature = std::numeric_limits<double>::infinity()}, "temperature");
  refused(prompt, {.top_k = -1}, "top_k");
  {
    const NoGrad guard;
    model.lnf.bias.fill_(std::numeric_limits<double>::quiet_NaN());
  }
  refused(prompt, {}, "not finite");
}
