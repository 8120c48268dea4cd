#pragma once
#include <cstdint>
#include <memory>
#include <string>

#include "optim/optimizer.h"
#include "optim/scheduler.h"

// Schedules of learning rates as written on the command line: constant, cosine[:N], step[:N], and PyTorch's,
// NAME[:KEY=VALUE,...].
namespace weft::demo {

/// What is wrong with a schedule's text; empty when nothing is.
std::string check_schedule(const std::string& text);
/// For --help.
std::string schedule_help();
/// With every number filled in: a run that is stopped, or told fewer steps, and goes on later, follows the same rates.
/// `steps`: of the run, `default_steps` of the demo; lengths are those of the longer one.
std::string complete_schedule(const std::string& text, int64_t steps, int64_t default_steps, double lr);

/// The schedule of a complete text, its first rates set; null for a constant rate.
std::unique_ptr<optim::Scheduler> make_schedule(const std::string& text, optim::Optimizer& optimizer);
/// One that looks at the validation loss instead of the step.
bool looks_at_loss(const std::string& text);
/// Steps that come before the first update: a warm-up begins with the rate behind 0.
int64_t steps_ahead(const std::string& text);

}  // namespace weft::demo
