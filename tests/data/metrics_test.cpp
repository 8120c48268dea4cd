#include "data/metrics.h"

#include <cmath>

#include "core/error.h"
#include "core/ops/extreme.h"
#include "core/ops/random.h"
#include "core/ops/sort.h"
#include "core/random.h"
#include "tests/catch.h"
#include "tests/data/helpers.h"
#include "tests/device.h"

using namespace weft;
using namespace weft::test;

namespace {
Tensor labels(std::initializer_list<int64_t> v) { return tensor(std::vector<int64_t>(v)); }
}  // namespace

TEST_CASE("MeanMetric and Perplexity weigh their updates") {
  MeanMetric mean;
  CHECK(std::isnan(mean.value()));
  mean.update(1, 3);
  mean.update(NAN, 0);
  mean.update(5);
  CHECK(mean.value() == 2);
  CHECK(error_of([&] { mean.update(1, -1); }) == "MeanMetric: the weight must not be negative, got -1");
  MeanMetric other;
  other.load_state_dict(mean.state_dict());
  CHECK(other.value() == 2);
  mean.reset();
  CHECK(std::isnan(mean.value()));
  Perplexity p;
  p.update(std::log(2.0), 10);
  p.update(std::log(8.0), 10);
  CHECK(p.value() == Approx(4));
}

TEST_CASE("Accuracy: top 1 is argmax, top k is topk") {
  manual_seed(3);
  const Tensor scores = randn({200, 7}), label = randint(0, 7, {200});
  for (const int64_t k : {1, 3, 7}) {
    Accuracy accuracy({.top_k = k});
    accuracy.update(scores.narrow(0, 0, 120), label.narrow(0, 0, 120));
    accuracy.update(scores.narrow(0, 120, 80), label.narrow(0, 120, 80));
    const Tensor hit = std::get<1>(topk(scores, k, 1)).eq(label.unsqueeze(1)).any({.dim = 1});
    CHECK(accuracy.right() == hit.sum().item<int64_t>());
    CHECK(accuracy.count() == 200);
  }
  Accuracy one;
  one.update(scores, label);
  CHECK(one.value() == Approx(argmax(scores, 1).eq(label).to(DType::f64).mean().item<double>()));
  Accuracy other;
  other.load_state_dict(one.state_dict());
  CHECK(other.value() == one.value());
}

TEST_CASE("Accuracy: ties, NaN, labels that do not count, sequences") {
  Accuracy tie;
  tie.update(ones({2, 3}), labels({0, 1}));
  CHECK(tie.right() == 1);
  Accuracy nan({.top_k = 2});
  nan.update(tensor(std::vector<double>{NAN, 1, 2}).unsqueeze(0), labels({0}));
  CHECK(nan.right() == 0);
  nan.update(tensor(std::vector<double>{NAN, 1, 2}).unsqueeze(0), labels({2}));
  CHECK(nan.right() == 1);
  Accuracy ignoring({.ignore_index = -100});
  CHECK(std::isnan(ignoring.value()));
  ignoring.update(tensor(std::vector<double>{1, 2, 2, 1, 0, 3}).view({1, 3, 2}), labels({1, -100, 0}).unsqueeze(0));
  CHECK(ignoring.count() == 2);
  CHECK(ignoring.right() == 1);
  CHECK_THROWS_AS(tie.update(ones({2, 3}), labels({0, 3})), IndexError);
  CHECK(error_of([&] {
          tie.update(ones({2, 3}), labels({0}));
        }) == test::here("Accuracy: needs scores [.., classes] and labels [..], got [2, 3] f32 cpu and [1] i64 cpu"));
  CHECK(error_of([] { Accuracy({.top_k = 0}); }) == "Accuracy: top_k must be at least 1, got 0");
}

TEST_CASE("ConfusionMatrix") {
  ConfusionMatrix m(3);
  m.update(labels({0, 1, 1, 2}), labels({0, 1, 2, 2}));
  m.update(tensor(std::vector<double>{0, 5, 0}).unsqueeze(0), labels({0}));
  const std::vector<int64_t> want = {1, 1, 0, 0, 1, 0, 0, 1, 1};
  CHECK(same_bits(m.matrix().flatten(), tensor(want)));
  CHECK(m.accuracy() == Approx(0.6));
  const Tensor precision = m.precision(), recall = m.recall(), f1 = m.f1();
  CHECK(precision.data<double>()[1] == Approx(1.0 / 3));
  CHECK(recall.data<double>()[0] == Approx(0.5));
  CHECK(f1.data<double>()[2] == Approx(2.0 / 3));
  ConfusionMatrix other(3);
  other.load_state_dict(m.state_dict());
  m.reset();
  CHECK(std::isnan(m.accuracy()));
  CHECK(std::isnan(m.recall().data<double>()[0]));
  CHECK(other.accuracy() == Approx(0.6));
  CHECK(error_of([&] { m.update(labels({0, 3}), labels({0, 1})); }) == "ConfusionMatrix: 3 is not one of 3 classes");
  CHECK(m.matrix().sum().item<int64_t>() == 0);
  CHECK_THROWS_AS(m.update(labels({0}), labels({0, 1})), Error);
  CHECK_THROWS_AS(m.load_state_dict({{"matrix", zeros({2, 2}, {.dtype = DType::i64})}}), Error);
}

TEST_CASE("EarlyStopping") {
  EarlyStopping stop({.patience = 2, .min_delta = 0.1});
  CHECK_FALSE(stop.update(NAN));
  CHECK(stop.update(1.0));
  CHECK_FALSE(stop.update(0.95));
  CHECK_FALSE(stop.should_stop());
  EarlyStopping resumed({.patience = 2, .min_delta = 0.1});
  resumed.load_state_dict(stop.state_dict());
  for (EarlyStopping* s : {&stop, &resumed}) {
    CHECK_FALSE(s->update(NAN));
    CHECK(s->should_stop());
    CHECK(s->update(0.5));
    CHECK_FALSE(s->should_stop());
    CHECK(s->best() == 0.5);
  }
  EarlyStopping up({.maximize = true});
  CHECK(up.update(0.5));
  CHECK(up.update(0.6));
  CHECK_FALSE(up.update(0.6));
  CHECK_THROWS_AS(EarlyStopping({.patience = 0}), Error);
}
