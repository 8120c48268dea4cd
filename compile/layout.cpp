// Where the buffers of a plan lie that live within the call only.
#include "compile/layout.h"

#include <algorithm>
#include <limits>

#include "core/address_arena.h"

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
      if (plan.alive[b] || plan.keeps(b)) return;
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

namespace {

// A result that outlives the run: its place in the block of results, and the run from which on it is there.
struct Result {
  size_t buffer;
  int first;
  size_t bytes, at = 0;
};

constexpr size_t kLeastShared = size_t{256} << 10;
constexpr size_t kMostPieces = 4000;    // of a plan that is packed several times
constexpr double kWorthSharing = 0.97;  // of the memory that results and scratch take apart

size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Results of the size that recorders tell apart, in the order in which they begin.
std::vector<Result> results_of(const Graph& g, const Plan& plan) {
  std::vector<Result> results;
  std::vector<char> seen(g.buffers.size(), 0);
  for (int r = 0; r < static_cast<int>(plan.runs.size()); ++r)
    touched(g, plan, plan.runs[static_cast<size_t>(r)], [&](const Operand& o) {
      const auto b = static_cast<size_t>(o.buffer);
      if (seen[b] || !plan.alive[b] || !g.buffers[b].born || g.buffers[b].bytes < detail::AddressArena::kLeast) return;
      seen[b] = 1;
      results.push_back({b, r, g.buffers[b].bytes});
    });
  return results;
}

class Packing {
 public:
  Packing(const Graph& g, const Plan& plan)
      : g_(g),
        pieces_(pieces_of(g, plan)),
        before_(heirs(g, plan, pieces_)),
        chain_(pieces_.size()),
        last_(pieces_.size()) {
    for (size_t i = 0; i < pieces_.size(); ++i) {  // pieces that follow each other in one place count as one
      chain_[i] = before_[i] < 0 ? i : chain_[static_cast<size_t>(before_[i])];
      last_[chain_[i]] = pieces_[i].last;
      if (before_[i] < 0) order_.push_back(i);
    }
    std::stable_sort(order_.begin(), order_.end(), [&](size_t a, size_t b) { return bytes(a) > bytes(b); });
  }
  size_t pieces() const { return pieces_.size(); }

  // The largest first, each as low as those beside it in time allow: in the block of results, whose places are given,
  // or else in the other one.
  Layout pack(const std::vector<Result>& results) {
    Layout layout;
    layout.at.assign(g_.buffers.size(), -1);
    placed_.clear();
    for (const Result& r : results) {
      layout.at[r.buffer] = static_cast<ptrdiff_t>(r.at);
      layout.results = std::max(layout.results, aligned(r.at + r.bytes));
      place({r.at, r.at + r.bytes, r.first, std::numeric_limits<int>::max()});
    }
    std::vector<size_t> start(pieces_.size());
    for (size_t i : order_) {
      size_t at = fit(i, 0);
      if (at + bytes(i) > layout.results) {
        at = fit(i, layout.results);
        layout.bytes = std::max(layout.bytes, at + bytes(i) - layout.results);
      }
      start[i] = at;
      place({at, at + bytes(i), pieces_[i].first, last_[i]});
    }
    for (size_t i = 0; i < pieces_.size(); ++i) {  // in the order of their first runs
      const auto at = static_cast<ptrdiff_t>(start[chain_[i]]);
      ptrdiff_t& first = layout.at[pieces_[i].buffer];
      if (first < 0)
        first = at;
      else
        layout.moves.push_back({pieces_[i].first, static_cast<int>(pieces_[i].buffer), at});
    }
    return layout;
  }

 private:
  struct Placed {
    size_t at, end;
    int first, last;
  };
  size_t bytes(size_t i) const { return std::max(g_.buffers[pieces_[i].buffer].bytes, size_t{1}); }
  void place(const Placed& p) {
    placed_.insert(std::upper_bound(placed_.begin(), placed_.end(), p.at,
                                    [](size_t at, const Placed& other) { return at < other.at; }),
                   p);
  }
  // The lowest place from `at` on.
  size_t fit(size_t i, size_t at) const {
    for (const Placed& other : placed_) {
      if (other.end <= at || other.last < pieces_[i].first || last_[i] < other.first) continue;
      if (at + bytes(i) <= other.at) break;
      at = aligned(other.end);
    }
    return at;
  }

  const Graph& g_;
  const std::vector<Piece> pieces_;
  const std::vector<int> before_;
  std::vector<size_t> chain_;  // by piece: the first one in its place
  std::vector<int> last_;      // of a chain
  std::vector<size_t> order_;
  std::vector<Placed> placed_;  // by offset
};

// Results side by side, those that begin first at the bottom or at the top, whichever leaves less for the other block.
Layout pack_with_results(Packing& packing, std::vector<Result> results, const Layout& apart) {
  size_t total = 0;
  for (const Result& r : results) total += aligned(r.bytes);
  if (total < kLeastShared || apart.bytes < kLeastShared || packing.pieces() > kMostPieces) return {};
  Layout best;
  for (int turn = 0; turn < 2; ++turn) {
    size_t at = 0;
    for (Result& r : results) {
      r.at = at;
      at += aligned(r.bytes);
    }
    if (Layout other = packing.pack(results); turn == 0 || other.bytes < best.bytes) best = std::move(other);
    std::reverse(results.begin(), results.end());
  }
  const bool worth =
      static_cast<double>(best.bytes + best.results) <= kWorthSharing * static_cast<double>(apart.bytes + total);
  return worth ? best : Layout();
}

}  // namespace

void lay_out(const Graph& g, Plan& plan) {
  plan.unplanned_bytes = unplanned_bytes(g, plan);
  Packing packing(g, plan);
  plan.layout = packing.pack({});
  plan.with_results = pack_with_results(packing, results_of(g, plan), plan.layout);
}

}  // namespace weft::graph
