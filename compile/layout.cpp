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

}  // namespace

// The largest first, each as low as those beside it in time allow.
void lay_out(const Graph& g, Plan& plan) {
  plan.scratch.assign(g.buffers.size(), -1);
  plan.moves.clear();
  plan.scratch_bytes = 0;
  plan.unplanned_bytes = unplanned_bytes(g, plan);
  const std::vector<Piece> pieces = pieces_of(g, plan);
  const auto bytes = [&](size_t i) { return std::max(g.buffers[pieces[i].buffer].bytes, size_t{1}); };
  std::vector<size_t> order(pieces.size()), start(pieces.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return bytes(a) > bytes(b); });
  std::vector<size_t> placed;  // by offset
  for (size_t i : order) {
    size_t at = 0;
    for (size_t other : placed) {
      if (pieces[other].last < pieces[i].first || pieces[i].last < pieces[other].first) continue;
      if (at + bytes(i) <= start[other]) break;
      at = std::max(at, (start[other] + bytes(other) + kAlignment - 1) / kAlignment * kAlignment);
    }
    start[i] = at;
    plan.scratch_bytes = std::max(plan.scratch_bytes, at + bytes(i));
    placed.insert(
        std::upper_bound(placed.begin(), placed.end(), i, [&](size_t x, size_t y) { return start[x] < start[y]; }), i);
  }
  for (size_t i = 0; i < pieces.size(); ++i) {  // in the order of their first runs
    ptrdiff_t& first = plan.scratch[pieces[i].buffer];
    if (first < 0)
      first = static_cast<ptrdiff_t>(start[i]);
    else
      plan.moves.push_back({pieces[i].first, static_cast<int>(pieces[i].buffer), static_cast<ptrdiff_t>(start[i])});
  }
}

}  // namespace weft::graph
