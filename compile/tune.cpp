#include "compile/tune.h"

#include <algorithm>
#include <cstdlib>
#include <iterator>

#include "compile/code.h"
#include "compile/tune_store.h"
#include "core/error.h"
#include "core/parallel.h"

namespace weft::graph {
namespace {

constexpr int64_t kTiles[] = {256, 1024, 2048, 4096};
// One thread may be faster than all up to here, and fewer pieces from there on.
constexpr int64_t kMostAlone = int64_t{1} << 18, kManyPieces = int64_t{1} << 20;
constexpr int64_t kSmallGrain = 8192, kLargeGrain = int64_t{1} << 17;

const Choice kAsItIs;

int64_t numel_of(const Graph& g, const Plan::Run& run) {
  return g.steps[static_cast<size_t>(run.first)].out.empty() ? 0 : g.steps[static_cast<size_t>(run.first)].out[0].numel;
}

// All that the time of a fused run depends on, beside what the machine does; and its name in a report.
std::string signature_of(const Graph& g, const Plan& plan, const Plan::Run& run,
                         std::span<const std::vector<cpu::FusedSegment>> loops, std::string& label) {
  const Operand& out = g.steps[static_cast<size_t>(run.first)].out[0];
  std::string text = detail::format("{} {}\n", {out.sizes, out.strides});
  const auto name = [&](int k) {
    label += (label.empty() ? "" : " ") + g.steps[static_cast<size_t>(k)].name();
    return g.steps[static_cast<size_t>(k)].name();
  };
  const auto steps = [&](int from, int count) {
    for (int i = from; i < from + count; ++i) {
      const cpu::FusedStep& s = plan.fused_steps[static_cast<size_t>(i)];
      text += name(plan.step_of[static_cast<size_t>(i)]);
      text += detail::format(" {} {} {}:", {static_cast<int>(s.compute), static_cast<int>(s.computed), s.truth});
      for (int x = 0; x < s.n_in; ++x) text += detail::format(" {}", {s.in[x]});
      text += detail::format(" -> {}\n", {s.out});
    }
  };
  if (run.rows < 0) {
    steps(run.steps_at, run.steps);
  } else {
    const cpu::RowGroup& group = plan.row_groups[static_cast<size_t>(run.rows)];
    text += detail::format("rows {} {} {}\n", {group.rows, group.block, group.chunk});
    for (const cpu::RowPart& part : group.parts)
      if (part.call >= 0)
        text += name(group.calls[static_cast<size_t>(part.call)].step) + "\n";
      else
        steps(run.steps_at + part.steps_at, part.steps);
  }
  for (int i = run.places_at; i < run.places_at + run.places; ++i) {
    const cpu::FusedPlace& p = plan.places[static_cast<size_t>(i)];
    text += detail::format("{} {} {} {} {} {} {}\n", {static_cast<int>(p.kind), static_cast<int>(p.dtype), p.tile,
                                                      p.sizes, p.strides, p.width, p.kept});
  }
  for (const auto& segments : loops)
    for (const cpu::FusedSegment& s : segments) text += detail::format("loop {} {}\n", {s.first, s.count});
  label += detail::format(" {}", {out.sizes});
  return text;
}

}  // namespace

std::string Choice::str() const {
  std::string text;
  const auto add = [&](const std::string& what) { text += (text.empty() ? "" : ", ") + what; };
  if (records) add("loops of the ops");
  if (cut.tile) add(detail::format("tiles of {}", {cut.tile}));
  if (cut.grain) add(detail::format("{} elements a thread", {cut.grain}));
  if (cut.block) add(detail::format("{} rows at a time", {cut.block}));
  return text.empty() ? "as it is" : text;
}

ToldChoice ToldChoice::parse(const std::string& text) {
  ToldChoice told;
  if (text.empty()) return told;
  if (text == "off") {
    told.off = true;
    return told;
  }
  told.choice.emplace();
  for (size_t at = 0; at <= text.size();) {
    const size_t comma = std::min(text.find(',', at), text.size()), is = std::min(text.find('=', at), comma);
    const std::string word = text.substr(at, is - at);
    const long long value = is < comma ? std::atoll(text.c_str() + is + 1) : 0;
    int64_t* to = word == "tile"    ? &told.choice->cut.tile
                  : word == "grain" ? &told.choice->cut.grain
                  : word == "block" ? &told.choice->cut.block
                                    : nullptr;
    const bool records = word == "records" && is == comma;
    WEFT_CHECK(records || (to && value > 0),
               "WEFT_TUNE: it is \"off\" or a list of tile=N, grain=N, block=N, records; got \"{}\"", text);
    if (records)
      told.choice->records = true;
    else
      *to = value;
    at = comma + 1;
  }
  return told;
}

/// What is known for one number of threads.
struct TunedPlan {
  /// Fused runs that are alike.
  struct Kind {
    std::string signature, label;
    std::vector<int> runs;
    int64_t numel = 0, block = 0;  ///< block: of a group of rows; 0: none
    bool code = false;
    Choice chosen;
    int stage = -1;
    std::vector<Choice> ways;  ///< of the stage
    Contest contest{1};
    double was = 0, now = 0;

    bool decided() const { return stage == kStages; }
    void go_on(int threads);
  };
  static constexpr int kStages = 4;

  int threads = 0;
  std::vector<Kind> kinds;
  std::string key;
  bool settled = false, kept = false;
  int64_t runs = 0;             ///< of the plan, that were timed
  std::vector<Choice> choices;  ///< by run of the plan; when settled

  void settle(size_t runs_of_plan) {
    choices.assign(runs_of_plan, Choice());
    for (const Kind& k : kinds)
      for (int r : k.runs) choices[static_cast<size_t>(r)] = k.chosen;
    settled = true;
  }
};

// To the next question that has several answers. The last one is whether all answers together are worth it.
void TunedPlan::Kind::go_on(int threads) {
  if (stage >= 0) {
    chosen = ways[contest.winner()];
    was = contest.least(0);
    now = contest.least(contest.winner());
  }
  while (++stage < kStages) {
    ways = {chosen};
    const auto add = [&](auto change) {
      Choice c = chosen;
      change(c);
      if (!(c == chosen)) ways.push_back(c);
    };
    if (stage == 0 && code) add([](Choice& c) { c.records = true; });
    if (stage == 1)
      for (int64_t tile : kTiles)
        if (tile / 2 < numel) add([&](Choice& c) { c.cut.tile = tile; });
    if (stage == 2 && block) {
      for (int64_t part : {2, 4})
        if (block / part > 0) add([&](Choice& c) { c.cut.block = block / part; });
    } else if (stage == 2 && threads > 1) {
      const int64_t usual = grain_of(numel, cpu::kFusedGrain);
      if (numel > usual && numel <= kMostAlone) add([&](Choice& c) { c.cut.grain = numel; });
      if (usual > kSmallGrain && numel <= kMostAlone) add([](Choice& c) { c.cut.grain = kSmallGrain; });
      if (numel >= kManyPieces) add([](Choice& c) { c.cut.grain = kLargeGrain; });
    }
    if (stage == 3 && !(chosen == kAsItIs)) ways.insert(ways.begin(), kAsItIs);
    if (ways.size() < 2) continue;
    contest = Contest(ways.size());
    return;
  }
}

Tuner::Tuner() : told_(ToldChoice::parse(std::getenv("WEFT_TUNE") ? std::getenv("WEFT_TUNE") : "")) {}

TunedPlan& Tuner::state(int threads, const Graph& g, const Plan& plan, const Generated* code) {
  std::shared_ptr<TunedPlan>& known = states_[threads];
  if (known) return *known;
  known = std::make_shared<TunedPlan>();
  TunedPlan& s = *known;
  s.threads = threads;
  s.key = tuning_key() + detail::format("{} threads\n", {threads});
  for (size_t r = 0; r < plan.runs.size(); ++r) {
    const Plan::Run& run = plan.runs[r];
    if (!run.fused || numel_of(g, run) == 0) continue;
    const size_t parts =
        run.rows < 0 ? 1
                     : static_cast<size_t>(std::count_if(plan.row_groups[static_cast<size_t>(run.rows)].parts.begin(),
                                                         plan.row_groups[static_cast<size_t>(run.rows)].parts.end(),
                                                         [](const cpu::RowPart& p) { return p.call < 0; }));
    auto loops = Generated::of(code, r);
    loops = loops.first(std::min(loops.size(), parts));
    std::string label;
    std::string signature = signature_of(g, plan, run, loops, label);
    auto kind = std::find_if(s.kinds.begin(), s.kinds.end(), [&](const auto& k) { return k.signature == signature; });
    if (kind == s.kinds.end()) {
      TunedPlan::Kind& k = s.kinds.emplace_back();
      k.label = std::move(label);
      k.numel = numel_of(g, run);
      if (run.rows >= 0) k.block = plan.row_groups[static_cast<size_t>(run.rows)].block;
      k.code = std::any_of(loops.begin(), loops.end(), [](const auto& l) { return !l.empty(); });
      s.key += "kernel\n" + signature;
      k.signature = std::move(signature);
      kind = std::prev(s.kinds.end());
    }
    kind->runs.push_back(static_cast<int>(r));
  }
  for (TunedPlan::Kind& k : s.kinds) k.go_on(threads);
  if (std::all_of(s.kinds.begin(), s.kinds.end(), [](const auto& k) { return k.decided(); })) {
    s.settle(plan.runs.size());
  } else if (const auto kept = find_tuned(s.key, s.kinds.size())) {
    s.kept = true;
    for (size_t i = 0; i < s.kinds.size(); ++i) {
      s.kinds[i].chosen = (*kept)[i].choice;
      s.kinds[i].was = (*kept)[i].was;
      s.kinds[i].now = (*kept)[i].now;
    }
    s.settle(plan.runs.size());
  }
  return s;
}

Tuner::Session::Session(Tuner* tuner, const Graph& g, const Plan& plan, const Generated* code) : tuner_(tuner) {
  if (!tuner || tuner->told_.off) return;
  if (tuner->told_.choice) {
    own_.assign(plan.runs.size(), *tuner->told_.choice);
    choices_ = own_.data();
    return;
  }
  const int threads = num_threads();
  const TunedPlan* settled = tuner->settled_.load(std::memory_order_acquire);
  if (settled && settled->threads == threads) {
    choices_ = settled->choices.data();
    return;
  }
  if ((!code && !plan.code->hopeless()) || in_parallel_region()) return;
  std::lock_guard lock(tuner->mutex_);
  TunedPlan& s = tuner->state(threads, g, plan, code);
  if (s.settled) {
    tuner->settled_.store(&s, std::memory_order_release);
    choices_ = s.choices.data();
    return;
  }
  own_.assign(plan.runs.size(), Choice());
  for (const TunedPlan::Kind& k : s.kinds) {
    const size_t way = k.decided() ? 0 : k.contest.next();
    ways_.push_back({k.stage, way, 0});
    for (int r : k.runs) own_[static_cast<size_t>(r)] = k.decided() ? k.chosen : k.ways[way];
  }
  choices_ = own_.data();
  state_ = &s;
}

const Choice& Tuner::Session::begin(size_t r) {
  if (!choices_) return kAsItIs;
  if (state_) [[unlikely]]
    begun_ = Clock::now();
  return choices_[r];
}

void Tuner::Session::take_time(size_t r) {
  const double us = std::chrono::duration<double, std::micro>(Clock::now() - begun_).count();
  for (size_t i = 0; i < ways_.size(); ++i) {
    const std::vector<int>& runs = state_->kinds[i].runs;
    if (std::binary_search(runs.begin(), runs.end(), static_cast<int>(r))) ways_[i].us += us;
  }
}

void Tuner::Session::finish() {
  if (!state_) [[likely]]
    return;
  TunedPlan& s = *std::exchange(state_, nullptr);
  std::vector<Tuned> tuned;
  {
    std::lock_guard lock(tuner_->mutex_);
    if (s.settled) return;
    ++s.runs;
    for (size_t i = 0; i < ways_.size(); ++i) {
      TunedPlan::Kind& k = s.kinds[i];
      if (k.decided() || k.stage != ways_[i].stage) continue;  // another thread was there before
      k.contest.add(ways_[i].way, ways_[i].us);
      if (k.contest.decided()) k.go_on(s.threads);
    }
    if (!std::all_of(s.kinds.begin(), s.kinds.end(), [](const auto& k) { return k.decided(); })) return;
    s.settle(own_.size());
    for (const TunedPlan::Kind& k : s.kinds) tuned.push_back({k.chosen, k.was, k.now});
    tuner_->settled_.store(&s, std::memory_order_release);
  }
  keep_tuned(s.key, tuned);
}

int64_t Tuner::timed() const {
  std::lock_guard lock(mutex_);
  int64_t all = 0;
  for (const auto& [threads, s] : states_) all += s->runs;
  return all;
}

std::string Tuner::describe() const {
  std::lock_guard lock(mutex_);
  if (told_.off) return "  tuning: off, as WEFT_TUNE says\n";
  if (told_.choice) return "  tuning: " + told_.choice->str() + ", as WEFT_TUNE says\n";
  std::string text;
  for (const auto& [threads, s] : states_) {
    if (s->kinds.empty()) continue;
    const auto decided = std::count_if(s->kinds.begin(), s->kinds.end(), [](const auto& k) { return k.decided(); });
    text += detail::format("  tuning for {} threads: ", {threads});
    text += s->kept ? "kept from earlier\n"
            : s->settled
                ? detail::format("done after {} timed runs\n", {s->runs})
                : detail::format("{} of {} kernels after {} timed runs\n", {decided, s->kinds.size(), s->runs});
    for (const TunedPlan::Kind& k : s->kinds) {
      if (!s->settled && !k.decided()) continue;
      text += "    " + k.label;
      if (k.runs.size() > 1) text += detail::format(", {} of them", {k.runs.size()});
      char times[80];
      if (k.chosen == kAsItIs)
        std::snprintf(times, sizeof times, ", %.1f us", k.was);
      else
        std::snprintf(times, sizeof times, ": %.1f -> %.1f us", k.was, k.now);
      text += ": " + k.chosen.str() + times + "\n";
    }
  }
  return text;
}

}  // namespace weft::graph
