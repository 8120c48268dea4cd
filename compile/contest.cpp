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
  const auto known = [&](size_t w) { return times_[w].size() >= kMost || (times_[w].size() >= kEnough && sure(w)); };
  bool others = false;
  for (size_t w = 1; w < ways(); ++w) {
    others |= !out_[w];
    if (!out_[w] && !known(w)) return false;
  }
  return !others || known(0);
}

size_t Contest::winner() const {
  size_t best = 0;
  if (!sure(0)) return best;
  for (size_t w = 1; w < ways(); ++w) {
    if (out_[w] || times_[w].size() < kFirst || second(w) >= kMargin * least(0)) continue;
    if (best == 0 || least(w) < least(best)) best = w;
  }
  return best;
}

double Contest::least(size_t way) const {
  return times_[way].empty() ? 0 : *std::min_element(times_[way].begin(), times_[way].end());
}

double Contest::second(size_t way) const {
  std::vector<double> sorted = times_[way];
  std::nth_element(sorted.begin(), sorted.begin() + 1, sorted.end());
  return sorted[1];
}

bool Contest::sure(size_t way) const { return times_[way].size() >= kFirst && second(way) <= kClose * least(way); }

}  // namespace weft::graph
