#include "compile/contest.h"

#include <algorithm>

namespace weft::graph {

size_t Contest::next() const {
  size_t least = 0;
  for (size_t w = 1; w < ways(); ++w)
    if (!out_[w] && times_[w].size() < times_[least].size()) least = w;
  return least;
}

void Contest::add(size_t way, double us) {
  times_[way].push_back(us);
  double best = 0;
  for (size_t w = 0; w < ways(); ++w) {
    if (out_[w]) continue;
    if (times_[w].size() < kFirst) return;
    if (w == 0 || least(w) < best) best = least(w);
  }
  for (size_t w = 1; w < ways(); ++w) out_[w] |= least(w) > kOut * best;
}

bool Contest::decided() const {
  bool others = false;
  for (size_t w = 1; w < ways(); ++w) {
    others |= !out_[w];
    if (!out_[w] && times_[w].size() < kEnough) return false;
  }
  return !others || times_[0].size() >= kEnough;
}

size_t Contest::winner() const {
  size_t best = 0;
  for (size_t w = 1; w < ways(); ++w) {
    if (out_[w] || times_[w].empty() || times_[0].empty()) continue;
    const bool clear = least(w) < kMargin * least(0) && middle(w) < kMargin * middle(0);
    if (clear && (best == 0 || least(w) < least(best))) best = w;
  }
  return best;
}

double Contest::least(size_t way) const {
  return times_[way].empty() ? 0 : *std::min_element(times_[way].begin(), times_[way].end());
}

double Contest::middle(size_t way) const {
  std::vector<double> sorted = times_[way];
  const auto at = sorted.begin() + static_cast<ptrdiff_t>(sorted.size() / 2);
  std::nth_element(sorted.begin(), at, sorted.end());
  return *at;
}

}  // namespace weft::graph
