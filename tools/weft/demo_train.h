#pragma once
#include <functional>
#include <memory>
#include <string>

#include "autograd/autocast.h"
#include "compile/compile.h"
#include "optim/optimizer.h"
#include "optim/schedule.h"
#include "profiler/profiler.h"
#include "tools/weft/demo.h"

// The training loop of the demos and the state that a checkpoint holds.
namespace weft::demo {

/// A schedule as written on the command line.
struct Schedule {
  std::string kind;    ///< constant, cosine, step
  int64_t length = 0;  ///< steps of the cosine, or between two drops; 0: left open
};
/// "cosine", "cosine:2000"; nothing for a text that is no schedule.
std::optional<Schedule> parse_schedule(const std::string& text);
/// With the length filled in: a run that is stopped, or told fewer steps, and goes on later, follows the same rates.
std::string complete_schedule(const std::string& text, int64_t steps, int64_t default_steps);

/// While alive, Ctrl-C (and SIGTERM) ask the loop to stop behind the current step; a second Ctrl-C ends the program.
class StopRequest {
 public:
  StopRequest();
  ~StopRequest();
  StopRequest(const StopRequest&) = delete;
  StopRequest& operator=(const StopRequest&) = delete;
  static bool made();
};

class Trainer {
 public:
  Trainer(const Settings& settings, Task& task);
  /// Continues where `checkpoint` was taken. weft::Error when it is of another task, model or data; `path`: for errors.
  void resume(const Value& checkpoint, const std::string& path);
  /// Trains up to settings.steps; calls `save` now and then and at the end.
  /// `profiled` gets the profile of a few steps, when it is given.
  Outcome run(const std::function<void()>& save,
              const std::function<void(const profiler::Profiler&)>& profiled = nullptr);

  const std::vector<LossRow>& rows() const { return rows_; }
  int64_t step() const { return step_; }
  /// What checkpoint.pt holds.
  Value checkpoint() const;

 private:
  /// Of each batch of step `step`; gradients are in the parameters.
  std::vector<Tensor> losses_of(int64_t step);
  void change_parameters();
  /// The training loss of step `step`, its gradients in the parameters.
  double compute_gradients(int64_t step);
  void update();
  /// task.evaluate(all), as training runs it.
  Score evaluate(bool all);
  Autocast autocast() const {
    return Autocast(Device(settings_.device), DType::bf16, {.enabled = settings_.amp == "bf16"});
  }
  void start_schedule();

  const Settings& settings_;
  Task& task_;
  std::vector<Tensor> parameters_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  std::unique_ptr<optim::Scheduler> scheduler_;  ///< null: constant
  bool compiled_;
  Compiled<std::function<std::vector<Tensor>(int64_t)>> fast_losses_;
  Compiled<std::function<void()>> fast_update_;
  int64_t step_ = 0;
  std::vector<LossRow> rows_;
};

}  // namespace weft::demo
