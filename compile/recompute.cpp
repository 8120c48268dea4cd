// Which results are computed again instead of being kept.
#include <algorithm>

#include "compile/layout.h"

namespace weft::graph {
namespace {

constexpr size_t kLeastBytes = size_t{64} << 10;  // of a result
constexpr size_t kLeastPeak = size_t{1} << 20;
constexpr size_t kMostWork = size_t{1} << 23;  // candidates x runs
constexpr double kWorth = 0.97;                // of the peak as it was

// A result that is of no use to the runs between two.
struct Gap {
  size_t buffer, bytes;
  int step, from, to;  // `from` touches it last, `to` needs it again
  bool chosen = false;
};

class Recomputation {
 public:
  Recomputation(const Graph& g, Plan& plan) : g_(g), plan_(plan) {}

  void run() {
    pieces_ = pieces_of(g_, plan_);
    live_.assign(plan_.runs.size(), 0);
    for (const Piece& p : pieces_)
      for (int r = p.first; r <= p.last; ++r) live(r) += g_.buffers[p.buffer].bytes;
    const std::vector<int> earlier = heirs(g_, plan_, pieces_);
    for (size_t i = 0; i < pieces_.size(); ++i)
      if (earlier[i] >= 0) live(pieces_[i].first) -= g_.buffers[pieces_[i].buffer].bytes;
    const size_t before = peak();
    if (before < kLeastPeak) return;
    find_gaps();
    if (gaps_.empty() || gaps_.size() * plan_.runs.size() > kMostWork) return;
    choose();
    if (static_cast<double>(peak()) <= kWorth * static_cast<double>(before)) insert();
  }

 private:
  size_t& live(int r) { return live_[static_cast<size_t>(r)]; }
  size_t peak() const { return live_.empty() ? 0 : *std::max_element(live_.begin(), live_.end()); }

  void find_gaps() {
    std::vector<std::vector<int>> uses(g_.buffers.size());  // runs
    writes_.assign(g_.buffers.size(), {});
    run_of_.assign(g_.steps.size(), -1);
    for (int r = 0; r < static_cast<int>(plan_.runs.size()); ++r) {
      const Plan::Run& run = plan_.runs[static_cast<size_t>(r)];
      touched(g_, plan_, run, [&](const Operand& o) {
        auto& u = uses[static_cast<size_t>(o.buffer)];
        if (u.empty() || u.back() != r) u.push_back(r);
      });
      each_step(plan_, run, [&](int k) { run_of_[static_cast<size_t>(k)] = r; });
    }
    for (int k = 0; k < static_cast<int>(g_.steps.size()); ++k) {
      const Step& s = g_.steps[static_cast<size_t>(k)];
      s.each_written([&](const Operand& o) { writes_[static_cast<size_t>(o.buffer)].push_back(k); });
    }
    piece_of_.assign(g_.buffers.size(), nullptr);
    for (const Piece& p : pieces_) piece_of_[p.buffer] = &p;
    for (const Piece& p : pieces_) {
      const size_t bytes = g_.buffers[p.buffer].bytes;
      const auto& writes = writes_[p.buffer];
      if (bytes < kLeastBytes || writes.size() != 1) continue;
      const auto k = static_cast<size_t>(writes[0]);
      if (!cheap(g_.steps[k]) || run_of_[k] < 0) continue;
      const Operand& out = g_.steps[k].out[0];
      if (out.buffer != static_cast<int>(p.buffer) || !out.covers(bytes)) continue;
      const auto& u = uses[p.buffer];
      Gap best{p.buffer, bytes, writes[0], 0, 0};
      for (size_t i = 1; i < u.size(); ++i)
        if (u[i] - u[i - 1] > best.to - best.from && can_repeat(k, u[i])) {
          best.from = u[i - 1];
          best.to = u[i];
        }
      if (best.to - best.from > 1) gaps_.push_back(best);
    }
  }

  // Takes about as long as reading and writing its memory, and does nothing else.
  static bool cheap(const Step& s) { return s.pointwise() || (s.rows.rows > 0 && s.written == 0 && !s.out.empty()); }

  // Whether all that step `k` reads is there just before run `r`, and is what it was; and all that it writes beside its
  // first result is still there.
  bool can_repeat(size_t k, int r) const {
    const Step& s = g_.steps[k];
    const auto there = [&](const Operand& o) {
      const auto b = static_cast<size_t>(o.buffer);
      const Piece* p = piece_of_[b];
      return plan_.alive[b] || plan_.keeps(b) || (p && p->first <= run_of_[k] && p->last >= r);
    };
    const auto changes = [&](int w) {
      const int run = run_of_[static_cast<size_t>(w)];
      return run >= run_of_[k] && run < r && w >= static_cast<int>(k);
    };
    for (const Operand& o : s.in) {
      if (!o.in_memory()) continue;
      const auto& writes = writes_[static_cast<size_t>(o.buffer)];
      if (!there(o) || std::any_of(writes.begin(), writes.end(), changes)) return false;
    }
    return std::all_of(s.out.begin() + 1, s.out.end(), [&](const Operand& o) {
      return !o.in_memory() || (there(o) && writes_[static_cast<size_t>(o.buffer)].size() == 1);
    });
  }

  void add(const Gap& gap, bool kept) {
    for (int r = gap.from + 1; r < gap.to; ++r) kept ? live(r) += gap.bytes : live(r) -= gap.bytes;
  }

  void choose() {
    for (;;) {
      const int at = static_cast<int>(std::max_element(live_.begin(), live_.end()) - live_.begin());
      Gap* best = nullptr;
      for (Gap& gap : gaps_)
        if (!gap.chosen && gap.from < at && at < gap.to && (!best || gap.bytes > best->bytes)) best = &gap;
      if (!best) break;
      best->chosen = true;
      add(*best, false);
    }
    const size_t now = peak();
    for (Gap& gap : gaps_) {  // those that did not help after all
      if (!gap.chosen) continue;
      add(gap, true);
      gap.chosen = peak() > now;
      if (gap.chosen) add(gap, false);
    }
  }

  void insert() {
    std::vector<Plan::Run> runs;
    for (int r = 0; r < static_cast<int>(plan_.runs.size()); ++r) {
      for (const Gap& gap : gaps_) {
        if (!gap.chosen || gap.to != r) continue;
        runs.push_back({.first = gap.step, .count = 1, .fused = false, .again = true});
        ++plan_.kernels;
        ++plan_.again;
        plan_.longer.resize(g_.buffers.size());
        plan_.longer[gap.buffer] = 1;
      }
      runs.push_back(plan_.runs[static_cast<size_t>(r)]);
    }
    plan_.runs = std::move(runs);
  }

  const Graph& g_;
  Plan& plan_;
  std::vector<Piece> pieces_;
  std::vector<const Piece*> piece_of_;    // by buffer
  std::vector<std::vector<int>> writes_;  // by buffer: steps
  std::vector<int> run_of_;               // by step
  std::vector<size_t> live_;              // by run: bytes
  std::vector<Gap> gaps_;
};

}  // namespace

void recompute(const Graph& g, Plan& plan) { Recomputation(g, plan).run(); }

}  // namespace weft::graph
