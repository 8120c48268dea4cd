#include "compile/direct.h"

#include <algorithm>
#include <cstdio>
#include <optional>

#include "autograd/autocast.h"
#include "autograd/meta.h"
#include "compile/plan_choice.h"
#include "compile/report.h"
#include "compile/state.h"
#include "core/error.h"
#include "core/profile.h"
#include "core/random.h"

namespace weft::graph {

void Seen::drop() {
  ready = other = nullptr;
  idle.clear();
  same.clear();
  any = false;
  facts = {};
  agreed = tries = 0;
}

void Seen::refuse(const std::string& why) {
  drop();
  refused = why;
}

std::shared_ptr<Seen> DirectTable::find(const std::vector<uint64_t>& signature, size_t most) {
  constexpr int kMostUnlike = 64;
  for (const auto& s : seen_)
    if (s->signature == signature) {
      unlike_ = 0;
      return s;
    }
  if (unlike_ >= kMostUnlike) return nullptr;
  ++unlike_;
  if (seen_.size() >= most) {
    const auto least =
        std::min_element(seen_.begin(), seen_.end(), [](const auto& a, const auto& b) { return a->calls < b->calls; });
    seen_.erase(least);
  }
  seen_.push_back(std::make_shared<Seen>());
  seen_.back()->signature = signature;
  return seen_.back();
}

std::vector<std::shared_ptr<const Captured>> DirectTable::hold(const Facts& f) {
  std::erase_if(captured_, [](const auto& c) { return c.expired(); });
  std::vector<std::shared_ptr<const Captured>> all;
  for (const Facts::Source& s : f.sources) {
    if (!s.captured) continue;
    std::shared_ptr<const Captured> owner;
    for (const auto& c : captured_)
      if (auto held = c.lock(); held && held->storage == s.captured) owner = std::move(held);
    if (!owner) captured_.push_back(owner = std::make_shared<Captured>(s.captured));
    all.push_back(std::move(owner));
  }
  return all;
}

}  // namespace weft::graph

namespace weft::detail {
namespace {

using graph::Facts;
using graph::Observed;

/// The tensors among the arguments, in order.
std::vector<const Tensor*> tensors_of(const std::vector<Argument>& arguments) {
  std::vector<const Tensor*> all;
  for (const Argument& a : arguments)
    if (a.kind == Argument::Kind::tensors)
      for (size_t i = 0; i < a.count; ++i) all.push_back(static_cast<const Tensor*>(a.at) + i);
  return all;
}

bool has_grad(const TensorImpl* t) { return t->meta && t->meta->grad.defined(); }

void add_state(std::vector<uint64_t>& words) {
  const ThreadState& s = thread_state;
  words.push_back(static_cast<uint64_t>(s.grad_mode) | static_cast<uint64_t>(s.inference) << 1 |
                  static_cast<uint64_t>(s.autocast) << 2 | static_cast<uint64_t>(s.autocast_cache) << 3 |
                  static_cast<uint64_t>(s.autocast_dtype) << 8 | static_cast<uint64_t>(default_dtype()) << 16 |
                  static_cast<uint64_t>(s.default_device.type) << 24 |
                  static_cast<uint64_t>(static_cast<uint8_t>(s.default_device.index)) << 32 |
                  static_cast<uint64_t>(autocast_state().device) << 40);
}

std::vector<uint64_t> signature_of(const std::vector<Argument>& arguments, const std::vector<const Tensor*>& tensors) {
  std::vector<uint64_t> words;
  words.reserve(64);
  add_state(words);
  size_t at = 0;
  for (const Argument& a : arguments) {
    words.push_back(static_cast<uint64_t>(a.kind) << 32 | a.count);
    if (a.kind == Argument::Kind::number) words.insert(words.end(), a.words.begin(), a.words.end());
    if (a.kind == Argument::Kind::module) a.look(a.at, words);
    for (size_t i = 0; a.kind == Argument::Kind::tensors && i < a.count; ++i, ++at) {
      if (!tensors[at]->defined()) {
        words.push_back(~uint64_t{0});
        continue;
      }
      const TensorImpl* t = tensors[at]->impl();
      words.push_back(static_cast<uint64_t>(t->dtype) | static_cast<uint64_t>(t->device.is_cuda()) << 8 |
                      static_cast<uint64_t>(t->requires_grad) << 9 | static_cast<uint64_t>(has_grad(t)) << 10 |
                      static_cast<uint64_t>(t->inference) << 11 | static_cast<uint64_t>(t->wrapped_number) << 12 |
                      static_cast<uint64_t>(t->sizes.size()) << 16);
      for (int64_t s : t->sizes) words.push_back(static_cast<uint64_t>(s));
      for (int64_t s : t->strides) words.push_back(static_cast<uint64_t>(s));
      words.push_back(static_cast<uint64_t>(t->offset));
      size_t first = 0;  // the first tensor that lies in the same memory, or is the same
      while (!tensors[first]->defined() || tensors[first]->impl()->storage != t->storage) ++first;
      words.push_back(first);
      first = 0;
      while (!tensors[first]->defined() || tensors[first]->impl() != t) ++first;
      words.push_back(first);
    }
  }
  return words;
}

// What a call would lose that does not run the code.
bool watched_thread() {
  return thread_state.deferral || thread_state.anomaly || thread_state.saved_hooks || profiling();
}

// Whether somebody else still holds the captured tensors.
bool captured_live(const graph::Replayable& r) {
  return std::all_of(r.captured.begin(), r.captured.end(), [](const auto& c) { return c->storage->refs.value() > 1; });
}

std::vector<const Storage*> storages_of(const std::vector<const Tensor*>& tensors) {
  std::vector<const Storage*> all;
  for (const Tensor* t : tensors) all.push_back(t->defined() ? t->impl()->storage : nullptr);
  return all;
}

}  // namespace

void keep_matched(CompiledState& state, const char* why) {
  std::lock_guard lock(state.cache.mutex);
  graph::add_text(state.cache.matched_because, why);
}

DirectCall::DirectCall(CompiledState& state, std::vector<Argument> arguments)
    : state_(&state), arguments_(std::move(arguments)), tensors_(tensors_of(arguments_)) {}
DirectCall::~DirectCall() = default;

bool DirectCall::run() {
  graph::Cache& cache = state_->cache;
  if (watched_thread() || cache.check_fused) return false;
  for (size_t i = 0; i < arguments_.size(); ++i) {
    const bool module = arguments_[i].kind == Argument::Kind::module && !cache.options.pure;
    if (arguments_[i].kind != Argument::Kind::unknown && !module) continue;
    std::lock_guard lock(cache.mutex);
    graph::add_text(cache.matched_because,
                    format(module ? "argument {} is a module, whose code may use what cannot be compared; give .pure = "
                                    "true if it does not"
                                  : "argument {} is of a type that cannot be compared",
                           {i}));
    return false;
  }
  const std::vector<uint64_t> signature = signature_of(arguments_, tensors_);
  std::unique_ptr<graph::Replayer> replayer;
  std::shared_ptr<const graph::Replayable> kept;  // what `choice` refers to
  std::optional<graph::PlanChoice::Session> choice;
  {
    std::unique_lock lock(cache.mutex);
    seen_ = state_->direct.find(signature, cache.options.recordings);
    if (!seen_) {
      graph::add_text(cache.matched_because, "its arguments are never twice alike: sizes, numbers or modules change");
      return false;
    }
    graph::Seen& s = *seen_;
    if (!s.refused.empty()) return false;
    if (s.ready && !captured_live(*s.ready)) {
      graph::add_text(cache.matched_because, "a captured tensor was given up or assigned to");
      s.drop();
    }
    before_ = storages_of(tensors_);
    bool watch = !s.ready || (!s.any && before_ != s.same);
    if (s.ready)
      for (const auto& c : s.ready->captured)  // where memory is the same, order may matter
        if (std::find(before_.begin(), before_.end(), c->storage) != before_.end()) return false;
    if (!watch && cache.options.verify_every > 0 && ++s.calls > cache.options.verify_every) {
      s.calls = 0;
      watch = verifies_ = true;
    }
    if (watch) {
      observed_ = std::make_unique<Observed>();
      for (const Tensor* t : tensors_) handles_.push_back(*t);
      random_ = default_generator().get_state();
      return false;
    }
    kept = s.ready;
    std::shared_ptr<const graph::Replayable> what = kept, other = s.other;
    if (other) {  // it may read a file
      lock.unlock();
      choice.emplace(kept->facts.entry->graph, *kept->facts.plan);
      if (choice->other()) what = other;
      lock.lock();
    }
    const auto idle =
        std::find_if(s.idle.begin(), s.idle.end(), [&](const auto& r) { return &r->what() == what.get(); });
    if (idle == s.idle.end()) {
      replayer = std::make_unique<graph::Replayer>(what, cache.options.freezing);
    } else {
      replayer = std::move(*idle);
      s.idle.erase(idle);
    }
  }
  const bool done = replayer->run(tensors_, results_, !choice || choice->decided());
  if (done && choice) choice->finish();
  std::lock_guard lock(cache.mutex);
  if (done) {
    ++cache.calls;
    ++cache.direct;
  } else {
    graph::add_text(cache.matched_because, "memory of tensors that weft did not allocate overlaps");
  }
  if (seen_->ready.get() == &replayer->what() || seen_->other.get() == &replayer->what())
    seen_->idle.push_back(std::move(replayer));
  return done;
}

void DirectCall::learn(const std::vector<Argument>& after, const std::vector<Tensor>& results) {
  graph::Cache& cache = state_->cache;
  std::vector<const Tensor*> tensors;
  for (const Tensor& t : handles_) tensors.push_back(&t);
  Facts facts;
  std::string why = changed(after);
  const bool judged = !observed_->recorded;  // first calls may make what lasts
  if (why.empty()) why = graph::refusal(*observed_, tensors, results, cache.options.pure, facts);
  if (why.empty() && !(random_ == default_generator().get_state())) why = "the state of random numbers changes";
  bool gave_up = false;
  {
    std::lock_guard lock(cache.mutex);
    graph::Seen& s = *seen_;
    if (s.ready) {
      // A call to compare, of numbers that a promise says are always the same, or of other arguments.
      if (why.empty()) why = s.ready->facts.difference(facts);
      cache.verified += verifies_;
      if (why.empty()) {
        s.any |= before_ != s.same;
        return;
      }
      s.drop();
      gave_up = verifies_;
      if (gave_up) s.refuse(why);
    } else if (!why.empty() && judged) {
      s.refuse(why);
    } else if (why.empty() && !observed_->recorded) {
      if (s.agreed) why = s.facts.difference(facts);
      s.agreed = why.empty() ? s.agreed + 1 : 1;
      if (why.empty() && s.agreed > 1) s.any |= before_ != s.same;
      if (s.agreed == 1) s.any = false;
      s.same = before_;
      s.facts = std::move(facts);
      if (s.agreed >= graph::kAgree) {
        auto held = state_->direct.hold(s.facts);
        s.any |= !cache.options.pure;  // nothing is captured
        if (s.facts.plan->choice) {
          Facts facts_of_other = s.facts;
          facts_of_other.plan = s.facts.plan->choice->other();
          s.other = std::make_shared<graph::Replayable>(std::move(facts_of_other), held);
        }
        s.ready = std::make_shared<graph::Replayable>(std::exchange(s.facts, {}), std::move(held));
        graph::debug(1, "direct replay begins");
        return;
      }
      if (++s.tries >= graph::kMostTries && !why.empty()) s.refuse(why);
    } else {
      s.agreed = 0;
      if (++s.tries >= graph::kMostTries)
        s.refuse(why = why.empty() ? "calls are recorded again and again" : why);
      else
        why.clear();
    }
    if (gave_up) why = "direct replay given up, results since the last comparison may be wrong: " + why;
    if (why.empty() || !graph::add_text(cache.matched_because, why)) return;
  }
  graph::debug(1, "no direct replay: " + why);
  if (!gave_up || cache.options.on_fallback == OnFallback::silent) return;
  WEFT_CHECK_AS(compile, cache.options.on_fallback != OnFallback::error, "compiled function: {}", why);
  std::fprintf(stderr, "weft: compiled function: %s\n", why.c_str());
}

// What the call has done to its arguments beside writing to their memory.
std::string DirectCall::changed(const std::vector<Argument>& after) const {
  size_t at = 0;
  for (size_t i = 0; i < after.size(); ++i) {
    const Argument &was = arguments_[i], &now = after[i];
    if (was.kind == Argument::Kind::number && was.lasts && was.words != now.words)
      return format("argument {} is assigned to", {i});
    if (was.kind != Argument::Kind::tensors) continue;
    if (was.lasts && (now.at != was.at || now.count != was.count)) return format("argument {} is assigned to", {i});
    for (size_t k = 0; was.lasts && k < was.count; ++k)
      if (!(static_cast<const Tensor*>(now.at) + k)->is_same(handles_[at + k]))
        return format("argument {} is assigned to", {i});
    at += was.count;
  }
  std::vector<const Tensor*> tensors;
  for (const Tensor& t : handles_) tensors.push_back(&t);
  std::vector<Argument> same = arguments_;
  at = 0;
  for (Argument& a : same)
    if (a.kind == Argument::Kind::tensors) {
      a.at = handles_.data() + at;
      at += a.count;
    }
  if (signature_of(same, tensors) != seen_->signature || storages_of(tensors) != before_)
    return "the call changes sizes, flags or gradients of its arguments, or members of a module";
  return {};
}

}  // namespace weft::detail
