// In which order the kernels of a plan run.
#include <algorithm>

#include "compile/execute.h"
#include "compile/layout.h"

namespace weft::graph {
namespace {

constexpr int64_t kLeast = 64 << 10;  // bytes that a change of two runs saves
constexpr size_t kMostRuns = 20000;
constexpr int kSweeps = 8;

class Order {
 public:
  Order(const Graph& g, Plan& plan)
      : g_(g), plan_(plan), touched_(g.buffers.size(), 0), written_(g.buffers.size(), 0) {}

  void run() {
    if (plan_.runs.size() > kMostRuns || plan_.runs.size() < 2) return;
    for (int r = 0; r < count(); ++r) facts_.push_back(facts_of(plan_.runs[static_cast<size_t>(r)]));
    find_lives();
    for (int sweep = 0; sweep < kSweeps; ++sweep) {
      bool changed = false;
      for (int r = 0; r + 1 < count(); ++r)
        if (swap_helps(r, r + 1)) {
          std::swap(plan_.runs[static_cast<size_t>(r)], plan_.runs[static_cast<size_t>(r) + 1]);
          std::swap(at(r), at(r + 1));
          for (size_t b : at(r).touched) move(b, r + 1, r);
          for (size_t b : at(r + 1).touched) move(b, r, r + 1);
          // The recorder gave blocks of dropped tensors to others in the order of the program.
          plan_.longer.resize(g_.buffers.size());
          for (int of : {r, r + 1})
            for (size_t b : at(of).touched) plan_.longer[b] = 1;
          changed = true;
        }
      if (!changed) break;
    }
  }

 private:
  struct Facts {
    std::vector<size_t> touched, written;  // buffers, each once
    bool stays = false;                    // keeps its place among the others
  };
  int count() const { return static_cast<int>(plan_.runs.size()); }
  Facts& at(int r) { return facts_[static_cast<size_t>(r)]; }

  Facts facts_of(const Plan::Run& run) {
    Facts f;
    const auto add = [](std::vector<size_t>& list, const Operand& o) {
      const auto b = static_cast<size_t>(o.buffer);
      if (std::find(list.begin(), list.end(), b) == list.end()) list.push_back(b);
    };
    touched(g_, plan_, run, [&](const Operand& o) { add(f.touched, o); });
    each_step(plan_, run, [&](int k) {
      const Step& s = g_.steps[static_cast<size_t>(k)];
      f.stays |= draws(s.op);
      s.each_written([&](const Operand& o) {
        add(f.written, o);
        f.stays |= !g_.buffers[static_cast<size_t>(o.buffer)].born;
      });
    });
    return f;
  }

  void find_lives() {
    first_.assign(g_.buffers.size(), -1);
    last_.assign(g_.buffers.size(), -1);
    for (const Piece& p : pieces_of(g_, plan_)) {
      first_[p.buffer] = p.first;
      last_[p.buffer] = p.last;
    }
  }

  // Neither sees what the other writes, nor are numbers drawn in another order; and where one fails, what came into the
  // call is as the program would have left it.
  bool independent(int a, int b) {
    if (at(a).stays || at(b).stays) return false;
    ++stamp_;
    for (size_t x : at(a).touched) touched_[x] = stamp_;
    for (size_t x : at(a).written) written_[x] = stamp_;
    for (size_t x : at(b).touched)
      if (written_[x] == stamp_) return false;
    for (size_t x : at(b).written)
      if (touched_[x] == stamp_ || written_[x] == stamp_) return false;
    return true;
  }

  // Whether less memory is in use, at most, when run b, the next, goes before run a.
  bool swap_helps(int a, int b) {
    const auto touches = [&](int r, size_t x) {
      return std::find(at(r).touched.begin(), at(r).touched.end(), x) != at(r).touched.end();
    };
    int64_t born_a = 0, dies_a = 0, born_b = 0, dies_b = 0;
    for (size_t x : at(a).touched) {
      const auto bytes = static_cast<int64_t>(g_.buffers[x].bytes);
      born_a += first_[x] == a ? bytes : 0;
      dies_a += last_[x] == a ? bytes : 0;
    }
    if (born_a < kLeast) return false;
    for (size_t x : at(b).touched) {
      const auto bytes = static_cast<int64_t>(g_.buffers[x].bytes);
      born_b += first_[x] == b ? bytes : 0;
      dies_b += last_[x] == b && !touches(a, x) ? bytes : 0;
    }
    const int64_t now = std::max(born_a, born_a - dies_a + born_b), then = std::max(born_b, born_b - dies_b + born_a);
    return then + kLeast <= now && independent(a, b);
  }

  // Run `from` is run `to` now.
  void move(size_t b, int from, int to) {
    const bool other = std::find(at(from).touched.begin(), at(from).touched.end(), b) != at(from).touched.end();
    if (other) return;  // it is needed by both, as before
    if (first_[b] == from) first_[b] = to;
    if (last_[b] == from) last_[b] = to;
  }

  const Graph& g_;
  Plan& plan_;
  std::vector<Facts> facts_;
  std::vector<int> first_, last_;       // by buffer: runs; -1: not within the call only
  std::vector<int> touched_, written_;  // by buffer: when independent() last saw it
  int stamp_ = 0;
};

}  // namespace

void order_runs(const Graph& g, Plan& plan) { Order(g, plan).run(); }

}  // namespace weft::graph
