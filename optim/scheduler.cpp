#include "optim/scheduler.h"

#include "core/error.h"

namespace weft::optim {

namespace detail {

void Fields::operator()(const char* name, double& v) {
  if (!loading()) return save(name, v);
  if (const Value* x = find(name)) v = x->as_double(name);
}
void Fields::operator()(const char* name, int64_t& v) {
  if (!loading()) return save(name, v);
  if (const Value* x = find(name)) v = x->as_int(name);
}
void Fields::operator()(const char* name, bool& v) {
  if (!loading()) return save(name, v);
  if (const Value* x = find(name)) v = x->as_bool(name);
}
void Fields::operator()(const char* name, std::string& v) {
  if (!loading()) return save(name, v);
  if (const Value* x = find(name)) v = x->as_string(name);
}
void Fields::operator()(const char* name, std::vector<double>& v) {
  if (!loading()) return save(name, v);
  const Value* x = find(name);
  if (!x) return;
  v.clear();
  for (const Value& e : x->as_list(name)) v.push_back(e.as_double(name));
}
void Fields::operator()(const char* name, std::vector<int64_t>& v) {
  if (!loading()) return save(name, v);
  if (const Value* x = find(name)) v = x->as_ints(name);
}

}  // namespace detail

std::vector<double> PerGroup::spread(size_t groups, const char* what) const {
  if (values.size() == 1 && groups != 1) return std::vector<double>(groups, values[0]);
  WEFT_CHECK(values.size() == groups, "{}: {} values for {} parameter groups; give one number, or one for each group",
             what, values.size(), groups);
  return values;
}

Scheduler::Scheduler(Optimizer& optimizer) : optimizer_(optimizer) {
  for (size_t g = 0; g < optimizer.group_count(); ++g) base_lrs_.push_back(optimizer.initial_lr(g));
}

void Scheduler::start() {
  step_count_ = 0;
  initial_ = true;
  advance();
  initial_ = false;
}

void Scheduler::advance() {
  ++step_count_;
  ++last_epoch_;
  update(false);
}

void Scheduler::update(bool closed_form) { set_rates(closed_form ? closed_form_lr() : get_lr()); }

std::vector<double> Scheduler::rates() const {
  std::vector<double> out;
  for (size_t g = 0; g < groups(); ++g) out.push_back(optimizer_.lr(g));
  return out;
}
std::vector<double> Scheduler::rates_times(double factor) const {
  std::vector<double> out = rates();
  for (double& r : out) r *= factor;
  return out;
}
std::vector<double> Scheduler::base_times(double factor) const {
  std::vector<double> out = base_lrs_;
  for (double& r : out) r *= factor;
  return out;
}

void Scheduler::set_rates(const std::vector<double>& rates) {
  WEFT_CHECK(rates.size() == groups(),
             "scheduler: made for {} parameter groups, the optimizer has {} now; add groups before the scheduler",
             rates.size(), groups());
  for (size_t g = 0; g < rates.size(); ++g) optimizer_.set_lr(g, rates[g]);
  last_lr_ = rates;
}

void Scheduler::set_momentum(size_t group, double momentum, const char* who) {
  WEFT_CHECK(optimizer_.momentum(group).has_value(),
             "{}: the optimizer has neither momentum nor betas; pass .cycle_momentum = false", who);
  optimizer_.set_momentum(group, momentum);
}

void Scheduler::fields(detail::Fields& f) {
  f("base_lrs", base_lrs_);
  f("last_epoch", last_epoch_);
  f("_step_count", step_count_);
  if (!f.loading()) {  // PyTorch's objects have them; they only mean something inside of its step()
    f.save("_is_initial", false);
    f.save("_get_lr_called_within_step", false);
  }
  f("_last_lr", last_lr_);
}

Value Scheduler::state_dict() const {
  Value::Dict out;
  detail::Fields f(out);
  const_cast<Scheduler*>(this)->fields(f);
  return Value(std::move(out));
}

void Scheduler::load_state_dict(const Value& state) {
  WEFT_CHECK(state.is_dict(), "load_state_dict: expects a scheduler's state_dict, got {}", state.kind_name());
  for (const char* key : {"base_lrs", "_last_lr"})
    if (const Value* saved = state.find(key))
      WEFT_CHECK(saved->size() == groups(), "load_state_dict: {} of {} groups saved, the optimizer has {}", key,
                 saved->size(), groups());
  const Value before = state_dict();
  try {
    detail::Fields f(state);
    fields(f);
  } catch (...) {  // as it was before
    detail::Fields f(before);
    fields(f);
    throw;
  }
  // The rates of SequentialLR and ChainedScheduler are those of the whole, not of the part that was loaded last.
  set_rates(state.contains("_last_lr") ? std::vector<double>(last_lr_) : closed_form_lr());
}

}  // namespace weft::optim
