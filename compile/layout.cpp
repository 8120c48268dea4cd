// Where the buffers of a plan lie that live within the call only.
#include "compile/layout.h"

#include <algorithm>

namespace weft::graph {
namespace {
constexpr size_t kAlignment = 64;
}

std::vector<Piece> pieces_of(const Graph& g, const Plan& plan) {
  std::vector<Piece> pieces;
  std::vector<int> piece(g.buffers.size(), -1);
  for (int r = 0; r < static_cast<int>(plan.runs.size()); ++r) {
    const Plan::Run& run = plan.runs[static_cast<size_t>(r)];
    const int again = run.again ? g.steps[static_cast<size_t>(run.first)].out[0].buffer : -1;
    touched(g, plan, run, [&](const Operand& o) {
      const auto b = static_cast<size_t>(o.buffer);
      if (plan.alive[b]) return;
      if (piece[b] < 0 || (o.buffer == again && pieces[static_cast<size_t>(piece[b])].last < r)) {
        piece[b] = static_cast<int>(pieces.size());
        pieces.push_back({b, r, r});
      }
      pieces[static_cast<size_t>(piece[b])].last = r;
    });
  }
  return pieces;
}

namespace {

size_t unplanned_bytes(const Graph& g, const Plan& plan) {
  std::vector<std::ptrdiff_t> change(g.steps.size() + 1, 0);
  std::vector<int> first(g.buffers.size(), -1), last(g.buffers.size(), -1);
  for (int k = 0; k < static_cast<int>(g.steps.size()); ++k) {
    const auto meet = [&](const Operand& o) {
      if (!o.in_memory() || plan.alive[static_cast<size_t>(o.buffer)]) return;
      int& begin = first[static_cast<size_t>(o.buffer)];
      if (begin < 0) begin = k;
      last[static_cast<size_t>(o.buffer)] = k;
    };
    for (const Operand& o : g.steps[static_cast<size_t>(k)].in) meet(o);
    for (const Operand& o : g.steps[static_cast<size_t>(k)].out) meet(o);
  }
  for (size_t b = 0; b < first.size(); ++b) {
    if (first[b] < 0) continue;
    change[static_cast<size_t>(first[b])] += static_cast<std::ptrdiff_t>(g.buffers[b].bytes);
    change[static_cast<size_t>(last[b]) + 1] -= static_cast<std::ptrdiff_t>(g.buffers[b].bytes);
  }
  std::ptrdiff_t now = 0, peak = 0;
  for (std::ptrdiff_t c : change) peak = std::max(peak, now += c);
  return static_cast<size_t>(peak);
}

class Heirs {
 public:
  Heirs(const Graph& g, const Plan& plan, const std::vector<Piece>& pieces)
      : before(pieces.size(), -1), g_(g), pieces_(pieces), of_(g.buffers.size()), taken_(pieces.size(), 0) {
    for (size_t i = 0; i < pieces.size(); ++i) of_[pieces[i].buffer].push_back(static_cast<int>(i));
    for (int r = 0; r < static_cast<int>(plan.runs.size()); ++r) {
      const Plan::Run& run = plan.runs[static_cast<size_t>(r)];
      if (run.rows >= 0) continue;
      steps_.clear();
      each_step(plan, run, [&](int k) { steps_.push_back(k); });
      for (size_t at = 0; at < steps_.size(); ++at)
        if (g.steps[static_cast<size_t>(steps_[at])].pointwise()) find(r, at);
    }
  }
  std::vector<int> before;

 private:
  // The piece of a buffer that is there during run r.
  int piece(const Operand& o, int r) const {
    if (!o.in_memory()) return -1;
    for (int i : of_[static_cast<size_t>(o.buffer)])
      if (pieces_[static_cast<size_t>(i)].first <= r && r <= pieces_[static_cast<size_t>(i)].last) return i;
    return -1;
  }
  bool meets(const Step& s, int buffer) const {
    const auto is = [&](const Operand& o) { return o.buffer == buffer; };
    return is(s.out[0]) || std::any_of(s.in.begin(), s.in.end(), is);
  }
  void find(int r, size_t at) {
    const Step& s = g_.steps[static_cast<size_t>(steps_[at])];
    const Operand& out = s.out[0];
    const int to = piece(out, r);
    const size_t bytes = out.in_memory() ? g_.buffers[static_cast<size_t>(out.buffer)].bytes : 0;
    if (to < 0 || pieces_[static_cast<size_t>(to)].first != r || !out.covers(bytes)) return;
    for (size_t k = 0; k < at; ++k)
      if (meets(g_.steps[static_cast<size_t>(steps_[k])], out.buffer)) return;
    for (const Operand& o : s.in) {
      const int from = piece(o, r);
      if (from < 0 || taken_[static_cast<size_t>(from)] || pieces_[static_cast<size_t>(from)].last != r) continue;
      if (o.dtype != out.dtype || o.sizes != out.sizes || o.strides != out.strides || o.offset != 0 ||
          g_.buffers[static_cast<size_t>(o.buffer)].bytes != bytes)
        continue;
      // It is there from before the run, and of the run's steps this is the last to see it. Tiles of other threads may
      // be anywhere: all of its steps see it at the same place.
      bool fits = pieces_[static_cast<size_t>(from)].first != r;
      for (size_t k = 0; k < steps_.size() && fits; ++k) {
        const Step& other = g_.steps[static_cast<size_t>(steps_[k])];
        fits = k <= at ? !elsewhere(other, o) : !meets(other, o.buffer);
      }
      if (!fits) continue;
      before[static_cast<size_t>(to)] = from;
      taken_[static_cast<size_t>(from)] = 1;
      return;
    }
  }
  static bool elsewhere(const Step& s, const Operand& o) {
    const auto is = [&](const Operand& x) { return x.buffer == o.buffer && !x.same_place(o); };
    return std::any_of(s.in.begin(), s.in.end(), is) || std::any_of(s.out.begin(), s.out.end(), is);
  }

  const Graph& g_;
  const std::vector<Piece>& pieces_;
  std::vector<std::vector<int>> of_;  // by buffer
  std::vector<char> taken_;
  std::vector<int> steps_;  // of the run
};

}  // namespace

std::vector<int> heirs(const Graph& g, const Plan& plan, const std::vector<Piece>& pieces) {
  return Heirs(g, plan, pieces).before;
}

// The largest first, each as low as those beside it in time allow.
void lay_out(const Graph& g, Plan& plan) {
  plan.scratch.assign(g.buffers.size(), -1);
  plan.moves.clear();
  plan.scratch_bytes = 0;
  plan.unplanned_bytes = unplanned_bytes(g, plan);
  const std::vector<Piece> pieces = pieces_of(g, plan);
  const auto bytes = [&](size_t i) { return std::max(g.buffers[pieces[i].buffer].bytes, size_t{1}); };
  // Pieces that follow each other in one place count as one.
  const std::vector<int> before = heirs(g, plan, pieces);
  std::vector<size_t> chain(pieces.size()), order;
  std::vector<int> last(pieces.size());
  for (size_t i = 0; i < pieces.size(); ++i) {
    chain[i] = before[i] < 0 ? i : chain[static_cast<size_t>(before[i])];
    last[chain[i]] = pieces[i].last;
    if (before[i] < 0) order.push_back(i);
  }
  std::vector<size_t> start(pieces.size());
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return bytes(a) > bytes(b); });
  std::vector<size_t> placed;  // by offset
  for (size_t i : order) {
    size_t at = 0;
    for (size_t other : placed) {
      if (last[other] < pieces[i].first || last[i] < pieces[other].first) continue;
      if (at + bytes(i) <= start[other]) break;
      at = std::max(at, (start[other] + bytes(other) + kAlignment - 1) / kAlignment * kAlignment);
    }
    start[i] = at;
    plan.scratch_bytes = std::max(plan.scratch_bytes, at + bytes(i));
    placed.insert(
        std::upper_bound(placed.begin(), placed.end(), i, [&](size_t x, size_t y) { return start[x] < start[y]; }), i);
  }
  for (size_t i = 0; i < pieces.size(); ++i) {  // in the order of their first runs
    const auto at = static_cast<ptrdiff_t>(start[chain[i]]);
    ptrdiff_t& first = plan.scratch[pieces[i].buffer];
    if (first < 0)
      first = at;
    else
      plan.moves.push_back({pieces[i].first, static_cast<int>(pieces[i].buffer), at});
  }
}

}  // namespace weft::graph
