#include "compile/recorder.h"

#include <execinfo.h>

#include <algorithm>
#include <cstring>

#include "compile/constants.h"
#include "compile/execute.h"
#include "compile/plan_choice.h"
#include "compile/report.h"
#include "core/allocator.h"
#include "core/error.h"
#include "core/host_read.h"

namespace weft::graph {
namespace {

constexpr size_t kMostSteps = 20000;  // of a stretch: bounds what waits

std::string tensor_text(const Operand& o) { return detail::format("{}{} strides {}", {o.dtype, o.sizes, o.strides}); }

// Whether kernels of a plan save more than it costs that `steps` are compared and run from a recording. Measured: 100
// ns a step; of a byte that no longer moves between the first caches 0.007 to 0.017 ns. Or whether they need clearly
// less memory.
bool pays(const Plan& p, size_t steps) {
  constexpr size_t kLeastMemory = size_t{1} << 20;
  constexpr double kLess = 0.95;
  if (p.unplanned_bytes >= kLeastMemory &&
      static_cast<double>(p.scratch_bytes()) <= kLess * static_cast<double>(p.unplanned_bytes))
    return true;
  constexpr double kStep = 100, kByte = 0.01;  // ns
  return static_cast<double>(p.bytes_before - p.bytes_after) * kByte > kStep * static_cast<double>(steps);
}

CallSite call_site() {
  CallSite site{};
  void* frames[kSiteFrames + 2];
  const int n = backtrace(frames, kSiteFrames + 2);
  for (int i = 2; i < n; ++i) site[static_cast<size_t>(i - 2)] = frames[i];
  return site;
}

// The first thing in which a step differs from what was recorded.
std::string difference(size_t k, const Step& now, const Step& then) {
  const std::string at = detail::format("step {}, {}: ", {k, now.name()});
  if (now.op != then.op || now.loops != then.loops) return at + "recorded " + then.name();
  for (size_t i = 0; i < now.in.size() && i < then.in.size(); ++i) {
    if (now.in[i].same_place(then.in[i])) continue;
    if (now.in[i].sizes == then.in[i].sizes && now.in[i].dtype == then.in[i].dtype &&
        now.in[i].strides == then.in[i].strides)
      return at + detail::format("input {} is another tensor", {i});
    return at + detail::format("input {} is {}, recorded {}", {i, tensor_text(now.in[i]), tensor_text(then.in[i])});
  }
  return at + "other results or options";
}

}  // namespace

Observed::~Observed() {
  for (const Slot& s : slots) Storage::release(s.held);
}

bool add_text(std::vector<std::string>& texts, const std::string& text) {
  if (texts.size() >= kMostTexts || std::find(texts.begin(), texts.end(), text) != texts.end()) return false;
  texts.push_back(text);
  return true;
}

Recorder::~Recorder() { forget(); }

int Recorder::slot_of(Storage* s) {
  Known& k = known_[s];
  if (k.slot < 0) {
    k.slot = static_cast<int>(slots_.size());
    if (!k.born) s->retain();
    Slot& slot = slots_.emplace_back();  // written where it lies: a copy would wait for its parts
    slot.storage = s;
    slot.data = static_cast<char*>(s->data);
    slot.bytes = s->bytes;
    slot.held = k.born ? nullptr : s;
    slot.device = s->device;
    slot.owned = s->owned;
    slot.lazy = k.lazy != 0;
  }
  return k.slot;
}

bool Recorder::matches(const Graph& g, const Key& key) {
  const Pattern& p = g.patterns[at_];
  if (p.op != key.op || p.loops != key.loops || p.compute != key.compute || p.truth != key.truth ||
      p.params != key.params || p.attrs_bytes != key.attrs_bytes || p.n_in != key.n_in || p.n_out != key.n_out)
    return false;
  // Attributes may change from call to call, but not what a group of rows rests on.
  if (p.may_write && p.written != key.written()) return false;
  if (p.by_rows && g.steps[at_].rows != key.rows()) return false;
  const uint64_t* w = g.words.data() + p.words;
  const auto same = [&](const Tensor& t, bool writes) {
    if (!t.defined()) return *w++ == Pattern::head(Operand::kUndefined, DType::f32, 0);
    if (is_number(key, t)) return *w++ == Pattern::head(Operand::kNumber, t.dtype(), 0);
    const TensorImpl* i = t.impl();
    const int n = i->sizes.size();
    const uint64_t head = *w++;
    if (static_cast<int32_t>(head) < 0 || head >> 32 != Pattern::head(0, i->dtype, n) >> 32) return false;
    uint64_t differ = *w++ ^ static_cast<uint64_t>(i->offset);
    for (int d = 0; d < n; ++d)
      differ |= (w[d] ^ static_cast<uint64_t>(i->sizes[d])) | (w[n + d] ^ static_cast<uint64_t>(i->strides[d]));
    w += 2 * n;
    if (differ) return false;
    const size_t expected = head & 0xffffffffu;
    const bool there = expected < slots_.size() && slots_[expected].alive && slots_[expected].storage == i->storage;
    const size_t slot = there ? expected : static_cast<size_t>(slot_of(i->storage));
    if (writes) slots_[slot].written = true;
    return slot == expected;
  };
  for (int i = 0; i < key.n_in; ++i)
    if (!same(key.in[i], key.n_out == 0 || (p.written && i < 32 && (p.written >> i & 1)))) return false;
  for (int i = 0; i < key.n_out; ++i)
    if (!same(key.out[i], true)) return false;
  return true;
}

Step Recorder::describe(const Key& key) {
  Step s;
  s.op = key.op;
  s.info = key.info;
  s.loops = key.loops;
  s.compute = key.compute;
  s.truth = key.truth;
  s.params = key.params;
  s.attrs_bytes = key.attrs_bytes;
  s.rows = key.rows();
  const auto operand = [&](const Tensor& t, bool writes) {
    Operand o;
    if (!t.defined()) return o;
    o.dtype = t.dtype();
    if (is_number(key, t)) {
      o.buffer = Operand::kNumber;
      o.numel = 1;
      return o;
    }
    o.sizes = t.sizes();
    o.strides = t.strides();
    o.offset = t.storage_offset();
    o.numel = t.numel();
    o.contiguous = t.impl()->contiguous;
    o.buffer = slot_of(t.impl()->storage);
    if (writes) slots_[static_cast<size_t>(o.buffer)].written = true;
    return o;
  };
  s.written = key.written();
  for (int i = 0; i < key.n_in; ++i)
    s.in.push_back(operand(key.in[i], key.n_out == 0 || (i < 32 && (s.written >> i & 1))));
  for (int i = 0; i < key.n_out; ++i) s.out.push_back(operand(key.out[i], true));
  return s;
}

void Recorder::note(std::string reason) {
  debug(1, "recording: " + reason);
  std::lock_guard lock(cache_.mutex);
  if (cache_.reasons.size() == kMostTexts) cache_.reasons.erase(cache_.reasons.begin());
  cache_.reasons.push_back(std::move(reason));
}

std::shared_ptr<Entry> Recorder::find_alike(const std::vector<Step>& before, const Step* now) {
  std::vector<std::shared_ptr<Entry>> entries;
  {
    std::lock_guard lock(cache_.mutex);
    entries = cache_.entries;
  }
  for (const auto& e : entries) {
    const std::vector<Step>& steps = e->graph.steps;
    if (now ? steps.size() <= at_ || !steps[at_].same(*now) : steps.size() != at_) continue;
    if (std::equal(steps.begin(), steps.begin() + static_cast<ptrdiff_t>(at_), before.begin(),
                   [](const Step& a, const Step& b) { return a.same(b); }))
      return e;
  }
  return nullptr;
}

// What is recorded begins with the steps of `old` that matched.
void Recorder::begin_with(const Graph& old) {
  for (size_t k = 0; k < at_; ++k) graph_.add(old.steps[k], old.sites[k]);
}

// The step to come differs from entry_: another recording that began alike takes over, or a new one begins.
void Recorder::diverge(const Key& key) {
  const std::shared_ptr<Entry> old = std::move(entry_);
  const Step now = describe(key);
  if ((entry_ = find_alike(old->graph.steps, &now))) return;
  note(at_ < old->graph.steps.size() ? difference(at_, now, old->graph.steps[at_])
                                     : detail::format("step {}, {}: the recording ends before", {at_, now.name()}));
  begin_with(old->graph);
  grouper_.clear();
  for (const Step& s : graph_.steps) grouper_.join(s);
}

void Recorder::finish_graph(Graph& g) const {
  for (const Slot& s : slots_) g.buffers.push_back({s.bytes, s.held == nullptr});
  g.number();
  g.verify();
}

void Recorder::stop_waiting() {
  if (at_) {
    struct Forget {  // a kernel failed: what ran does not run again
      Recorder* r;
      ~Forget() {
        if (r) r->forget();
      }
    } forget_on_error{this};
    Graph waiting = graph_;
    finish_graph(waiting);
    const auto plan = make_plan(waiting, alive_now(waiting), cache_.options);
    execute(waiting, *plan);
    forget_on_error.r = nullptr;
  }
  give_back();
  known_.for_each([](Known& k) { k.reused = false; });
  recording_ = true;
}

void Recorder::add(const Key& key, const Scalar* params) {
  if (at_ == 0) {
    std::lock_guard lock(cache_.mutex);
    if (stretch_ < cache_.expected.size()) entry_ = cache_.expected[stretch_];
  }
  if (at_ == 0 && !entry_) {
    const Step now = describe(key);
    if (!(entry_ = find_alike({}, &now))) note(stretch_ ? "after a break" : "first call");
  }
  if (entry_ && (at_ >= entry_->graph.steps.size() || !matches(entry_->graph, key))) diverge(key);
  if (!entry_ && !recording_) stop_waiting();
  if (!entry_) {
    Step s = describe(key);
    const int before = graph_.steps.empty() ? -1 : graph_.steps.back().group;
    s.group = grouper_.join(s) ? before : before + 1;
    graph_.add(std::move(s), call_site());
  }
  const int group = (entry_ ? entry_->graph : graph_).patterns[at_].group;
  if (group != group_) new_group();
  group_ = group;

  // Attributes or parameters, then the numbers among the inputs.
  const auto aligned = [](size_t n) { return (n + kAlign - 1) / kAlign * kAlign; };
  const size_t own = aligned(key.info ? static_cast<size_t>(key.params) * sizeof(Scalar) : key.attrs_bytes);
  const size_t start = data_.size();
  data_.resize(start + own + (key.info ? aligned(static_cast<size_t>(key.n_in) * kNumber) : 0));
  data_at_.push_back(start);
  if (key.info && key.params) std::memcpy(&data_[start], params, static_cast<size_t>(key.params) * sizeof(Scalar));
  if (!key.info && key.attrs_bytes) std::memcpy(&data_[start], key.attrs, key.attrs_bytes);
  for (int i = 0; key.info && i < key.n_in; ++i)
    if (is_number(key, key.in[i]))
      std::memcpy(&data_[start + own + static_cast<size_t>(i) * kNumber], key.in[i].impl()->data,
                  itemsize(key.in[i].dtype()));
  ++at_;
}

// After a step has run or waits.
void Recorder::look_back(const Key& key) {
  if (at_ >= kMostSteps) return cut("so many ops wait");
  bool seen = false;
  for (const Storage* s : exposed_) {
    for (int i = 0; i < key.n_in; ++i) seen |= key.in[i].defined() && key.in[i].impl()->storage == s;
    for (int i = 0; i < key.n_out; ++i) seen |= key.out[i].defined() && key.out[i].impl()->storage == s;
  }
  if (seen) cut("the host holds the address of what it touches");
}

void Recorder::put_off(const OpCall& c, size_t attrs_bytes) {
  const Key key{&c.op, nullptr, nullptr, DType::f32, false, c.in, c.n_in, c.out, c.n_out, 0, attrs_bytes, c.attrs};
  add(key, nullptr);
  if (recording_) {
    const Running running;
    c.op.cpu(c);
  }
  look_back(key);
}

void Recorder::put_off(const detail::PointwiseCall& c) {
  if (c.out.numel() == 0) return;
  // A gradient kernel takes an integer or bool nowhere: parameters are those of the record.
  const Key key{
      &c.op.record, &c.op, &c.loops, c.compute, c.truth, c.in, c.n_in, &c.out, 1, c.params ? c.op.params : 0, 0,
      nullptr};
  add(key, c.params);
  if (recording_) {
    const Running running;
    cpu::run_pointwise(c.loops, c.compute, c.truth, c.out, c.in, c.n_in, c.params);
  }
  look_back(key);
}

void Recorder::settle(Storage* storage, bool keeps) {
  if (observed_) ++observed_->touched;
  Known* k = known_.find(storage);
  if (k && k->birth >= 0) {
    passing_[static_cast<size_t>(k->birth)] = kSeen;
    need_memory(*k);
  }
  bool waits = false;
  if (at_ > 0 && k) {
    const int slot = k->slot;
    waits = k->reused || (slot >= 0 && (keeps || slots_[static_cast<size_t>(slot)].written));
  }
  if (keeps && std::find(exposed_.begin(), exposed_.end(), storage) == exposed_.end()) exposed_.push_back(storage);
  if (!waits && k && k->slot < 0) {
    k->born = false;  // the host fills it before any kernel does: an input
    if (storage->owned && storage->deleter) results_bytes_ = 0;
  }
  if (!waits) return;
  const char* why = detail::HostRead::why();
  cut(why ? why : "the host reads memory (item(), data_ptr(), printing)", why != nullptr);
}

void Recorder::finish() {
  run(false);
  std::lock_guard lock(cache_.mutex);
  cache_.useless = useless_ ? std::min(cache_.useless + 1, kMostUseless) : 0;
  if (!useless_) cache_.since_useless = 0;
}

void Recorder::reset() noexcept {
  forget();
  exposed_.clear();
  stretch_ = 0;
  useless_ = true;
  observed_ = nullptr;
}

// Ends a stretch: nothing waits any more. Memory that was kept for its kernels goes back.
void Recorder::forget() noexcept {
  give_back();
  std::vector<Slot> slots;
  slots.swap(slots_);
  // What this stretch made comes into the next one as any input does: with contents, and kept alive until it is read.
  known_.for_each([&](Known& k) { need_memory(k); });
  known_.clear();
  if (arena_) arena_->leave();
  arena_ = nullptr;
  expected_passing_ = nullptr;
  places_ = nullptr;
  results_ = nullptr;
  births_known_ = false;
  passing_.clear();
  no_arena_ = false;
  in_.clear();
  out_.clear();
  at_ = 0;
  recording_ = false;
  group_ = -1;
  entry_ = nullptr;
  graph_ = {};
  grouper_.clear();
  data_.clear();
  data_at_.clear();
  for (const Slot& s : slots) Storage::release(s.held);
}

// What a call could not do as asked for; `text` says why.
void Recorder::fall_back(const std::string& text, bool explained) {
  {
    std::lock_guard lock(cache_.mutex);
    if (!add_text(explained ? cache_.explained : cache_.breaks, text)) return;
  }
  debug(1, "fallback: " + text);
  if (cache_.options.on_fallback == OnFallback::warn)
    std::fprintf(stderr, "weft: compiled function: cut in parts %s; .on_fallback = OnFallback::silent if you mean it\n",
                 text.c_str());
}

void Recorder::cut(const char* reason, bool explained) {
  const std::string text =
      detail::format("after {}: {}", {(entry_ ? entry_->graph.steps : graph_.steps)[at_ - 1].name(), reason});
  if (cache_.options.on_fallback == OnFallback::error)
    detail::fail_with(detail::Fault::compile,
                      "compiled function: cut in parts {}{}; give on_fallback warn or silent to allow it", text,
                      call_text(call_site()));
  fall_back(text, explained);
  run(true);
}

void Recorder::keep(const std::shared_ptr<Entry>& made) {
  if (cache_.entries.size() >= cache_.options.recordings) {
    // Of two picked at random the one that ran longer ago: calls that go round in a circle find most of theirs, and
    // those of an earlier phase make way.
    const uint64_t bits = static_cast<uint64_t>(cache_.dropped + 1) * 0x9E3779B97F4A7C15u, n = cache_.entries.size();
    const auto one = cache_.entries.begin() + static_cast<ptrdiff_t>((bits >> 33) % n);
    const auto other = cache_.entries.begin() + static_cast<ptrdiff_t>((bits >> 48) % n);
    cache_.entries.erase((*one)->last < (*other)->last ? one : other);
    ++cache_.dropped;
  }
  cache_.entries.push_back(made);
}

void Recorder::tell(const std::shared_ptr<const Plan>& plan, bool recorded) {
  Observed& o = *observed_;
  ++o.stretches;
  o.recorded |= recorded;
  if (o.stretches > 1) return;
  o.entry = entry_;
  o.plan = plan;
  for (const Slot& s : slots_) {
    if (s.held) s.held->retain();
    o.slots.push_back({s.held, s.data, s.held || s.alive, s.written});
  }
  o.data = data_;
  o.data_at = data_at_;
}

void Recorder::run(bool in_the_middle) {
  if (at_ == 0) return;
  struct Forget {
    Recorder& r;
    ~Forget() { r.forget(); }
  } forget_after{*this};

  if (entry_ && at_ < entry_->graph.steps.size())
    if (auto shorter = find_alike(entry_->graph.steps, nullptr)) entry_ = std::move(shorter);
  const bool whole = entry_ && at_ == entry_->graph.steps.size();
  if (!whole) {
    const auto made = std::make_shared<Entry>();
    if (entry_) {
      note(detail::format("ends after step {} of {}", {at_, entry_->graph.steps.size()}));
      begin_with(entry_->graph);
    }
    finish_graph(graph_);
    made->graph = std::move(graph_);
    entry_ = made;
    if (debug_level() >= 2) debug(2, "graph:\n" + made->graph.str());
  }
  std::vector<char> alive = alive_now(entry_->graph);

  std::shared_ptr<const Plan> plan;
  {
    std::lock_guard lock(cache_.mutex);
    plan = entry_->plan;
  }
  if (!plan || plan->alive != alive) {
    plan = make_plan(entry_->graph, std::move(alive), cache_.options);
    if (debug_level() >= 3) debug(3, "plan:\n" + plan_text(entry_->graph, *plan));
  }
  {
    std::lock_guard lock(cache_.mutex);
    if (entry_->plan && entry_->plan->alive == plan->alive)
      plan = entry_->plan;  // another thread's: code and choices of one plan are made once
    else
      entry_->plan = plan;
    if (!passing_.empty() && (!entry_->passing || *entry_->passing != passing_))
      entry_->passing = std::make_shared<const std::vector<char>>(passing_);
    if (plan->constants->given_up() || recording_) place_results(plan);
    ++entry_->runs;
    entry_->last = cache_.calls;
    ++(whole ? cache_.matched : cache_.recorded);
    cache_.broken += in_the_middle;
    if (!whole) keep(entry_);
    if (cache_.expected.size() <= stretch_) cache_.expected.resize(stretch_ + 1);
    cache_.expected[stretch_] = entry_;
  }
  ++stretch_;
  bool open = false;
  if (!plan->constants->given_up() && !recording_) {
    const auto constants = plan->constants;
    if (auto kept = constants->plan_for(entry_->graph, *plan, data_, data_at_)) plan = std::move(kept);
    open = constants->open();
    std::lock_guard lock(cache_.mutex);
    place_results(plan);
  }
  if (observed_) tell(plan, !whole);
  useless_ &= whole && !in_the_middle && !open && !pays(plan->chosen(), at_) && !(plan->choice && plan->choice->open());
  if (!recording_) execute(entry_->graph, *plan);
}

}  // namespace weft::graph
