#include "optim/schedule_compose.h"

#include <algorithm>

#include "core/error.h"
#include "optim/schedule_plateau.h"

namespace weft::optim {
namespace {

// The optimizer of all of them.
Optimizer& common_optimizer(const Schedulers& list, const char* name) {
  WEFT_CHECK(!list.empty(), "{}: needs at least one scheduler", name);
  for (size_t i = 0; i < list.size(); ++i) {
    WEFT_CHECK(list[i], "{}: scheduler {} is null", name, i);
    WEFT_CHECK(!dynamic_cast<ReduceLROnPlateau*>(list[i].get()),
               "{}: scheduler {} is a ReduceLROnPlateau, whose step needs a metric; step it by itself", name, i);
    WEFT_CHECK(&list[i]->optimizer() == &list[0]->optimizer(), "{}: scheduler {} is of another optimizer", name, i);
  }
  return list[0]->optimizer();
}

void check_count(const Value& saved, size_t have, const char* name) {
  WEFT_CHECK(saved.as_list("_schedulers").size() == have, "load_state_dict: {} with {} schedulers saved, this has {}",
             name, saved.size(), have);
}

Value states(const Schedulers& list) {
  Value::List out;
  for (const auto& s : list) out.push_back(s->state_dict());
  return Value::list(std::move(out));
}

void load_states(const Schedulers& list, const Value& saved) {
  for (size_t i = 0; i < list.size(); ++i) list[i]->load_state_dict(saved.as_list()[i]);
}

}  // namespace

ChainedScheduler::ChainedScheduler(Schedulers schedulers)
    : Scheduler(common_optimizer(schedulers, "ChainedScheduler")), schedulers_(std::move(schedulers)) {
  last_epoch_ = 0;
  last_lr_ = rates();
}
void ChainedScheduler::advance() {
  for (const auto& s : schedulers_) s->step();
  ++last_epoch_;
  last_lr_ = rates();
}
void ChainedScheduler::undo_start() {
  for (const auto& s : schedulers_) s->undo_start();
}
void ChainedScheduler::fields(detail::Fields& f) {
  if (!f.loading()) {
    f.save("_schedulers", states(schedulers_));
  } else if (const Value* saved = f.find("_schedulers")) {
    check_count(*saved, schedulers_.size(), "ChainedScheduler");
    load_states(schedulers_, *saved);
    last_epoch_ = schedulers_[0]->last_epoch();
  }
  f("_last_lr", last_lr_);
}

SequentialLR::SequentialLR(Optimizer& optimizer, Schedulers schedulers, std::vector<int64_t> milestones)
    : Scheduler(optimizer), schedulers_(std::move(schedulers)), milestones_(std::move(milestones)) {
  WEFT_CHECK(&common_optimizer(schedulers_, "SequentialLR") == &optimizer,
             "SequentialLR: the schedulers are of another optimizer");
  WEFT_CHECK(milestones_.size() + 1 == schedulers_.size(),
             "SequentialLR: {} milestones for {} schedulers; needs one less than schedulers", milestones_.size(),
             schedulers_.size());
  WEFT_CHECK(std::is_sorted(milestones_.begin(), milestones_.end()), "SequentialLR: milestones must rise");
  for (size_t g = 0; g < groups(); ++g) optimizer.set_lr(g, base_lrs_[g]);
  undo_start();
  Scheduler& first = *schedulers_[active(0)];
  first.start();
  last_epoch_ = 0;
  last_lr_ = first.last_lr();
}
void SequentialLR::undo_start() {
  for (const auto& s : schedulers_) s->undo_start();
}
size_t SequentialLR::active(int64_t step) const {
  return static_cast<size_t>(std::upper_bound(milestones_.begin(), milestones_.end(), step) - milestones_.begin());
}
void SequentialLR::advance() {
  ++last_epoch_;
  const size_t i = active(last_epoch_);
  Scheduler& s = *schedulers_[i];
  if (i > 0 && milestones_[i - 1] == last_epoch_) {
    s.last_epoch_ = 0;
    s.update(true);
  } else {
    s.step();
  }
  last_lr_ = s.last_lr();
}
void SequentialLR::fields(detail::Fields& f) {
  f("_milestones", milestones_);
  f("last_epoch", last_epoch_);
  f("_last_lr", last_lr_);
  if (!f.loading()) {
    f.save("_schedulers", states(schedulers_));
  } else if (const Value* saved = f.find("_schedulers")) {
    check_count(*saved, schedulers_.size(), "SequentialLR");
    WEFT_CHECK(milestones_.size() + 1 == schedulers_.size(), "load_state_dict: SequentialLR with {} milestones saved",
               milestones_.size());
    load_states(schedulers_, *saved);
  }
}

}  // namespace weft::optim
