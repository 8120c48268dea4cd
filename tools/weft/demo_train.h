#pragma once
#include <functional>
#include <memory>
#include <string>

#include "autograd/autocast.h"
#include "compile/compile.h"
#include "optim/grad_scaler.h"
#include "optim/optimizer.h"
#include "optim/scheduler.h"
#include "profiler/profiler.h"
#include "tools/weft/demo.h"

// The training loop of the demos and the state that a checkpoint holds.
namespace weft::demo {

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
  /// The training loss of step `step`, its gradients in the parameters.
  double compute_gradients(int64_t step);
  /// losses_ of batches_, their gradients in the parameters.
  void compute_losses();
  void change_parameters();
  void update();
  /// task.evaluate(all), as training runs it.
  Score evaluate(bool all);
  Autocast autocast() const {
    return Autocast(Device(settings_.device), settings_.amp == "f16" ? DType::f16 : DType::bf16,
                    {.enabled = settings_.amp != "none"});
  }
  void start_schedule();

  const Settings& settings_;
  Task& task_;
  std::vector<Tensor> parameters_;
  std::unique_ptr<optim::Optimizer> optimizer_;
  optim::GradScaler scaler_;                     ///< enabled for f16
  std::unique_ptr<optim::Scheduler> scheduler_;  ///< null: constant
  bool follows_ = true;                          ///< the schedule of the checkpoint goes on
  optim::StepResult updated_;                    ///< of the last update
  std::vector<Batch> batches_;                   ///< of one step
  std::vector<Tensor> losses_;
  bool compiled_;  ///< the two below run in place of compute_losses() and change_parameters()
  Compiled<std::function<void()>> fast_losses_, fast_update_;
  int64_t step_ = 0;
  std::vector<LossRow> rows_;
  TrainState state_;
};

}  // namespace weft::demo
