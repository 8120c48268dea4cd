#pragma once
#include <memory>
#include <string>
#include <vector>

#include "optim/optimizer.h"

namespace weft::optim {

namespace detail {
/// Reads or writes the named facts of a state_dict: one list of members serves both ways.
class Fields {
 public:
  explicit Fields(Value::Dict& out) : out_(&out) {}
  explicit Fields(const Value& in) : in_(&in) {}
  bool loading() const { return in_ != nullptr; }
  /// The entry to read, null when there is none: the member stays as it is.
  const Value* find(const char* name) const { return in_->find(name); }
  void save(const char* name, Value v) { out_->set(name, std::move(v)); }

  void operator()(const char* name, double& v);
  void operator()(const char* name, int64_t& v);
  void operator()(const char* name, bool& v);
  void operator()(const char* name, std::string& v);
  void operator()(const char* name, std::vector<double>& v);
  void operator()(const char* name, std::vector<int64_t>& v);

 private:
  Value::Dict* out_ = nullptr;
  const Value* in_ = nullptr;
};
}  // namespace detail

/// A number for all parameter groups, or one for each.
struct PerGroup {
  std::vector<double> values;
  PerGroup(double v) : values{v} {}
  PerGroup(std::vector<double> v) : values(std::move(v)) {}
  PerGroup(std::initializer_list<double> v) : values(v) {}
  /// One for each of `groups`; `what` is the name in the error when there are more or fewer.
  std::vector<double> spread(size_t groups, const char* what) const;
};

/// Sets the learning rates of an optimizer's groups step by step (torch.optim.lr_scheduler.LRScheduler). Making one
/// sets the rates of step 0, step() those of the next; the base is the rate a group had when its first scheduler was
/// made. The numbers are PyTorch's to the last bits: where it multiplies the rate in use, so does this, and a rate
/// changed by hand in between counts. The optimizer must live longer.
class Scheduler {
 public:
  virtual ~Scheduler() = default;
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  /// After every optimizer.step().
  void step() { advance(); }
  /// After GradScaler::step(): a skipped update leaves the rates where they are.
  void step(const StepResult& result) {
    if (result.stepped) advance();
  }
  int64_t last_epoch() const { return last_epoch_; }
  /// The rates that this scheduler set last, by group.
  const std::vector<double>& last_lr() const { return last_lr_; }
  Optimizer& optimizer() const { return optimizer_; }

  /// PyTorch's keys. Functions (of LambdaLR, ...) are not in it.
  Value state_dict() const;
  /// Restores a state_dict(), ours or PyTorch's, and sets the rates of its last step. Error: other groups.
  void load_state_dict(const Value& state);

 protected:
  explicit Scheduler(Optimizer& optimizer);
  /// The last line of a constructor: the rates of step 0.
  void start();

  /// The rates at last_epoch_, from those in use where PyTorch does so.
  virtual std::vector<double> get_lr() = 0;
  /// The same from the base rates: for a scheduler that SequentialLR starts in the middle.
  virtual std::vector<double> closed_form_lr() { return get_lr(); }
  virtual void advance();
  /// Every fact of the state_dict.
  virtual void fields(detail::Fields& f);

  size_t groups() const { return optimizer_.group_count(); }
  std::vector<double> rates() const;
  std::vector<double> rates_times(double factor) const;
  std::vector<double> base_times(double factor) const;
  void set_rates(const std::vector<double>& rates);
  /// Momentum of SGD, first beta of Adam; the error names `who` where the optimizer has neither.
  void set_momentum(size_t group, double momentum, const char* who);

  Optimizer& optimizer_;
  std::vector<double> base_lrs_, last_lr_;
  int64_t last_epoch_ = -1, step_count_ = 0;
  bool initial_ = false;  ///< inside start()

 private:
  friend class SequentialLR;
  friend class ChainedScheduler;
  void update(bool closed_form);
  /// Back to before start().
  virtual void undo_start() { --last_epoch_; }
};

}  // namespace weft::optim
