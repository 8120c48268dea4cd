#include "compile/plan_choice.h"

#include <algorithm>
#include <cstdio>

#include "compile/code.h"
#include "compile/constants.h"
#include "compile/tune_store.h"
#include "core/error.h"
#include "core/parallel.h"

namespace weft::graph {
namespace {

// Whether the plan runs as it will from now on. A plan that does not run yet asks for its code as well.
bool ready(const Graph& recorded, const Plan& plan, bool runs) {
  if (!plan.code->hopeless() && !plan.code->in_use_since() && !runs) plan.code->use(plan.graph(recorded), plan);
  return plan.code->hopeless() || plan.code->in_use_since();
}

}  // namespace

bool PlanChoice::chose_other() const {
  const int decided = decided_.load(std::memory_order_acquire);
  return decided >= 0 && decided % 2;
}

int64_t PlanChoice::timed() const {
  std::lock_guard lock(mutex_);
  return runs_;
}

void PlanChoice::restart(int threads, const Graph& recorded, const Plan& plan) {
  threads_ = threads;
  contest_ = Contest(2);
  key_ = tuning_key() + detail::format("{} threads, plans\n", {threads});
  for (char a : plan.alive) key_ += a ? '1' : '0';
  key_ += plan.row_groups.empty() ? "\nrows are the other" : "\nrows are the first";
  if (plan.kept) {
    key_ += ", without ";
    for (char left_out : plan.kept->steps) key_ += left_out ? '1' : '0';
  }
  key_ += "\n" + recorded.str();
  const auto kept = find_tuned(key_, 1);
  kept_ = kept.has_value();
  if (!kept) return;
  was_ = (*kept)[0].was;
  now_ = (*kept)[0].now;
  decided_.store(2 * threads + (*kept)[0].other, std::memory_order_release);
}

PlanChoice::Session::Session(const Graph& recorded, const Plan& plan)
    : recorded_(recorded), plan_(plan), choice_(plan.choice.get()) {
  if (!choice_) return;
  threads_ = num_threads();
  const int decided = choice_->decided_.load(std::memory_order_acquire);
  if (decided >= 0 && decided / 2 == threads_) {
    other_ = decided % 2;
    return;
  }
  times_ = true;  // nothing of it is tuned
  if (in_parallel_region()) return;
  const bool one = ready(recorded, plan, true), other = ready(recorded, *choice_->other_, false);  // both are asked
  std::lock_guard lock(choice_->mutex_);
  if (choice_->threads_ != threads_) choice_->restart(threads_, recorded, plan);
  if (const int now = choice_->decided_.load(std::memory_order_relaxed); now >= 0 && now / 2 == threads_) {
    times_ = false;
    other_ = now % 2;
    return;
  }
  if (!one || !other) return;
  other_ = choice_->contest_.next() == 1;
  begun_ = std::chrono::steady_clock::now();
}

void PlanChoice::Session::add_time() {
  if (begun_ == std::chrono::steady_clock::time_point()) return;
  const double us = std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begun_).count();
  std::string key;
  Tuned tuned;
  {
    std::lock_guard lock(choice_->mutex_);
    PlanChoice& c = *choice_;
    if (c.threads_ != threads_ || c.contest_.decided()) return;
    ++c.runs_;
    c.contest_.add(other_, us);
    if (!c.contest_.decided()) return;
    tuned.other = c.contest_.winner() == 1;
    tuned.was = c.was_ = c.contest_.least(0);
    tuned.now = c.now_ = c.contest_.least(c.contest_.winner());
    key = c.key_;
    c.decided_.store(2 * threads_ + tuned.other, std::memory_order_release);
  }
  keep_tuned(key, {tuned});
}

std::string PlanChoice::describe() const {
  std::lock_guard lock(mutex_);
  const int decided = decided_.load(std::memory_order_relaxed);
  const bool rows = !other_->row_groups.empty();
  if (decided < 0) return detail::format("  tuning: rows at a time or not, undecided after {} timed runs\n", {runs_});
  char times[80];
  std::snprintf(times, sizeof times, decided % 2 ? "%.1f -> %.1f us" : "%.1f us", was_, now_);
  return detail::format("  tuning for {} threads: {} at a time{}: {}\n",
                        {decided / 2, (decided % 2 == 1) == rows ? "rows" : "no rows",
                         kept_ ? ", kept from earlier" : "", std::string(times)});
}

}  // namespace weft::graph
