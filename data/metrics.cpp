#include "data/metrics.h"

#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/ops/extreme.h"
#include "core/ops/gather.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/range.h"
#include "core/ops/reduce.h"
#include "core/thread_state.h"

namespace weft {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

Tensor count_tensor(int64_t v, Device device = {}) { return scalar_tensor(v, {.dtype = DType::i64, .device = device}); }

void add_to(Tensor& total, const Tensor& more) { total = total.defined() ? total.to(more.device()) + more : more; }

}  // namespace

void MeanMetric::update(double value, double weight) {
  WEFT_CHECK(weight >= 0, "MeanMetric: the weight must not be negative, got {}", weight);
  if (weight == 0) return;
  sum_ += value * weight;
  weight_ += weight;
}
void MeanMetric::load_state_dict(const Value& state) {
  const double sum = state.at("sum").as_double("sum"), weight = state.at("weight").as_double("weight");
  WEFT_CHECK(weight >= 0, "MeanMetric: the weight must not be negative, got {}", weight);
  sum_ = sum;
  weight_ = weight;
}

double Perplexity::value() const { return std::exp(loss_.value()); }

// ---- Accuracy

Accuracy::Accuracy(const AccuracyOptions& options) : options_(options) {
  WEFT_CHECK(options.top_k >= 1, "Accuracy: top_k must be at least 1, got {}", options.top_k);
}

void Accuracy::update(const Tensor& scores, const Tensor& labels) {
  WEFT_CHECK_TYPE(is_floating(scores.dtype()) && labels.dtype() == DType::i64,
                  "Accuracy: needs floating scores and i64 labels, got {} and {}", scores, labels);
  WEFT_CHECK(scores.dim() == labels.dim() + 1 && scores.numel() == labels.numel() * scores.size(-1),
             "Accuracy: needs scores [.., classes] and labels [..], got {} and {}", scores, labels);
  const NoGrad guard;
  const Tensor s = scores.detach().flatten(0, -2), label = labels.flatten().to(s.device());
  Tensor counted = label.eq(label);
  if (options_.ignore_index) counted = label.ne(*options_.ignore_index);
  const Tensor known = where(counted, label, zeros_like(label)).unsqueeze(1);
  const Tensor own = s.gather(1, known);
  const Tensor classes = arange(0, s.size(1), 1, {.dtype = DType::i64, .device = s.device()});
  // Classes in front of the label's: larger ones, and equal ones with a smaller number. NaN is in front of all.
  const Tensor ahead = s.gt(own).logical_or(s.ne(s)).logical_or(s.eq(own).logical_and(classes.lt(known)));
  const Tensor right = ahead.sum({.dim = 1}).lt(options_.top_k).logical_and(own.eq(own).squeeze(1));
  add_to(right_, right.logical_and(counted).sum());
  add_to(count_, counted.sum());
}

double Accuracy::value() const { return static_cast<double>(right()) / static_cast<double>(count()); }
int64_t Accuracy::right() const { return right_.defined() ? right_.item<int64_t>() : 0; }
int64_t Accuracy::count() const { return count_.defined() ? count_.item<int64_t>() : 0; }
void Accuracy::load_state_dict(const Value& state) {
  const int64_t right = state.at("right").as_int("right"), count = state.at("count").as_int("count");
  WEFT_CHECK(right >= 0 && right <= count, "Accuracy: {} right of {}", right, count);
  right_ = count_tensor(right);
  count_ = count_tensor(count);
}

// ---- ConfusionMatrix

ConfusionMatrix::ConfusionMatrix(int64_t classes) {
  WEFT_CHECK(classes >= 1, "ConfusionMatrix: at least one class, got {}", classes);
  matrix_ = zeros({classes, classes}, {.dtype = DType::i64, .device = DeviceType::cpu});
}

void ConfusionMatrix::update(const Tensor& predictions, const Tensor& labels) {
  const NoGrad guard;
  const bool scores = is_floating(predictions.dtype());
  WEFT_CHECK_TYPE(labels.dtype() == DType::i64 && (scores || predictions.dtype() == DType::i64),
                  "ConfusionMatrix: needs i64 labels and i64 predictions or floating scores, got {} and {}", labels,
                  predictions);
  const int64_t classes = matrix_.size(0);
  WEFT_CHECK(labels.dim() == 1 && predictions.dim() == (scores ? 2 : 1) && predictions.size(0) == labels.size(0) &&
                 (!scores || predictions.size(1) == classes),
             "ConfusionMatrix: needs labels [N] and predictions [N] or [N, {}], got {} and {}", classes, labels,
             predictions);
  const Tensor was = labels.cpu().contiguous();
  const Tensor taken = (scores ? argmax(predictions.detach(), 1) : predictions).cpu().contiguous();
  const auto *row = was.data<int64_t>(), *column = taken.data<int64_t>();
  for (int64_t i = 0; i < was.numel(); ++i)
    for (const int64_t c : {row[i], column[i]})
      WEFT_CHECK_INDEX(c >= 0 && c < classes, "ConfusionMatrix: {} is not one of {} classes", c, classes);
  auto* counts = matrix_.data<int64_t>();
  for (int64_t i = 0; i < was.numel(); ++i) ++counts[row[i] * classes + column[i]];
}

double ConfusionMatrix::accuracy() const {
  const auto all = matrix_.sum().item<int64_t>();
  return all ? static_cast<double>(matrix_.diagonal().sum().item<int64_t>()) / static_cast<double>(all) : kNan;
}
Tensor ConfusionMatrix::precision() const {
  return matrix_.diagonal().to(DType::f64) / matrix_.sum({.dim = 0}).to(DType::f64);
}
Tensor ConfusionMatrix::recall() const {
  return matrix_.diagonal().to(DType::f64) / matrix_.sum({.dim = 1}).to(DType::f64);
}
Tensor ConfusionMatrix::f1() const {
  return 2 * matrix_.diagonal().to(DType::f64) / (matrix_.sum({.dim = 0}) + matrix_.sum({.dim = 1})).to(DType::f64);
}
void ConfusionMatrix::reset() { matrix_ = zeros_like(matrix_); }
void ConfusionMatrix::load_state_dict(const Value& state) {
  const Tensor& m = state.at("matrix").as_tensor("matrix");
  WEFT_CHECK(m.dtype() == DType::i64 && m.sizes() == matrix_.sizes(), "ConfusionMatrix: the state is {}, not i64 {}", m,
             matrix_.sizes());
  matrix_ = m.cpu().clone();
}

// ---- EarlyStopping

EarlyStopping::EarlyStopping(const EarlyStoppingOptions& options) : options_(options), best_(kNan) {
  WEFT_CHECK(options.patience >= 1 && options.min_delta >= 0,
             "EarlyStopping: patience must be at least 1 and min_delta not negative, got {} and {}", options.patience,
             options.min_delta);
}
bool EarlyStopping::update(double value) {
  const bool better = options_.maximize ? value > best_ + options_.min_delta : value < best_ - options_.min_delta;
  const bool first = std::isnan(best_) && !std::isnan(value);
  if (!first && !better) {
    ++waited_;
    return false;
  }
  best_ = value;
  waited_ = 0;
  return true;
}
void EarlyStopping::load_state_dict(const Value& state) {
  const double best = state.at("best").as_double("best");
  waited_ = state.at("waited").as_int("waited");
  best_ = best;
}

}  // namespace weft
