#pragma once
#include <optional>

#include "core/tensor.h"
#include "core/value.h"

namespace weft {

/// A weighted running mean of numbers.
class MeanMetric {
 public:
  /// weft::Error for a negative weight.
  void update(double value, double weight = 1);
  /// NaN before the first update.
  double value() const { return sum_ / weight_; }
  double weight() const { return weight_; }
  void reset() { *this = MeanMetric(); }
  Value state_dict() const { return {{"sum", sum_}, {"weight", weight_}}; }
  void load_state_dict(const Value& state);

 private:
  double sum_ = 0, weight_ = 0;
};

/// exp(mean loss per token), the loss in nats.
class Perplexity {
 public:
  /// The mean loss over `tokens` of them, as cross_entropy gives it.
  void update(double mean_loss, int64_t tokens) { loss_.update(mean_loss, static_cast<double>(tokens)); }
  double value() const;
  void reset() { loss_.reset(); }
  Value state_dict() const { return loss_.state_dict(); }
  void load_state_dict(const Value& state) { loss_.load_state_dict(state); }

 private:
  MeanMetric loss_;
};

struct AccuracyOptions {
  int64_t top_k = 1;                         ///< right when the label is among the k largest
  std::optional<int64_t> ignore_index = {};  ///< a label that does not count, as in cross_entropy
};
/// The fraction of right predictions. Of equal scores the first class is the larger one; NaN is never right. Counts
/// stay on the device of the scores: only value() waits for it.
class Accuracy {
 public:
  /// weft::Error for top_k below 1.
  explicit Accuracy(const AccuracyOptions& options = {});
  /// scores: floating [N, classes] (or [.., classes]); labels: i64 [N] (or [..]). weft::Error for other shapes.
  void update(const Tensor& scores, const Tensor& labels);
  /// NaN before the first update.
  double value() const;
  int64_t right() const;
  int64_t count() const;
  void reset() { right_ = count_ = Tensor(); }
  Value state_dict() const { return {{"right", right()}, {"count", count()}}; }
  void load_state_dict(const Value& state);

 private:
  AccuracyOptions options_;
  Tensor right_, count_;  // i64 scalars; undefined: 0
};

/// How often each class was taken for each.
class ConfusionMatrix {
 public:
  /// weft::Error for less than one class.
  explicit ConfusionMatrix(int64_t classes);
  /// predictions: i64 [N] classes, or floating [N, classes] scores (the largest counts); labels: i64 [N].
  /// IndexError for a class that is none.
  void update(const Tensor& predictions, const Tensor& labels);
  /// i64 [classes, classes]: rows are labels, columns predictions.
  const Tensor& matrix() const { return matrix_; }
  double accuracy() const;
  /// f64 [classes]; NaN for a class that was never predicted (precision), never there (recall), or neither (f1).
  Tensor precision() const;
  Tensor recall() const;
  Tensor f1() const;
  void reset();
  Value state_dict() const { return {{"matrix", matrix_}}; }
  void load_state_dict(const Value& state);

 private:
  Tensor matrix_;
};

struct EarlyStoppingOptions {
  int64_t patience = 5;   ///< updates without progress until should_stop()
  double min_delta = 0;   ///< less than this is no progress
  bool maximize = false;  ///< larger is better, as for an accuracy
};
/// Tells when a validation figure has stopped to improve.
class EarlyStopping {
 public:
  /// weft::Error for a patience below 1 or a negative min_delta.
  explicit EarlyStopping(const EarlyStoppingOptions& options = {});
  /// True when `value` is the best so far: the moment to save. NaN is no progress.
  bool update(double value);
  bool should_stop() const { return waited_ >= options_.patience; }
  /// NaN before the first update.
  double best() const { return best_; }
  Value state_dict() const { return {{"best", best_}, {"waited", waited_}}; }
  void load_state_dict(const Value& state);

 private:
  EarlyStoppingOptions options_;
  double best_;
  int64_t waited_ = 0;
};

}  // namespace weft
