#include "compile/constants.h"

#include <algorithm>

#include "compile/execute.h"
#include "compile/layout.h"
#include "compile/recorder.h"

namespace weft::graph {
namespace {

constexpr size_t kLeast = 4096;             // bytes of all together
constexpr size_t kMost = size_t{32} << 20;  // they stay in memory between calls
constexpr int kMostRounds = 16;

class Finder {
 public:
  Finder(const Graph& g, const Plan& plan) : runs_(plan.runs.size()), varies_(g.buffers.size(), 0) {
    for (size_t b = 0; b < varies_.size(); ++b) varies_[b] = plan.alive[b] || !g.buffers[b].born;
    for (size_t r = 0; r < runs_.size(); ++r) {
      const auto add = [](std::vector<size_t>& list, const Operand& o) {
        const auto b = static_cast<size_t>(o.buffer);
        if (std::find(list.begin(), list.end(), b) == list.end()) list.push_back(b);
      };
      touched(g, plan, plan.runs[r], [&](const Operand& o) { add(runs_[r].touched, o); });
      each_step(plan, plan.runs[r], [&](int k) {
        const Step& s = g.steps[static_cast<size_t>(k)];
        runs_[r].varies |= draws(s.op);
        s.each_written([&](const Operand& o) { add(runs_[r].written, o); });
      });
    }
  }

  // False: it takes too long to tell.
  bool find() {
    for (int round = 0; round < kMostRounds; ++round)
      if (!spread()) return true;
    return false;
  }
  bool constant(size_t run) const { return !runs_[run].varies; }
  const std::vector<size_t>& written(size_t run) const { return runs_[run].written; }

 private:
  struct Facts {
    std::vector<size_t> touched, written;
    bool varies = false;
  };
  // Whether something varies of which that was not known.
  bool spread() {
    bool more = false;
    // A buffer that a constant run changes once another has seen it has more contents than one.
    std::vector<char> seen(varies_.size(), 0);
    for (Facts& f : runs_) {
      if (!f.varies) {
        for (size_t b : f.touched) f.varies |= varies_[b] != 0;
        for (size_t b : f.written) f.varies |= varies_[b] || seen[b];
        more |= f.varies;
      }
      if (!f.varies) continue;
      for (size_t b : f.touched) seen[b] = 1;
      for (size_t b : f.written) {
        more |= !varies_[b];
        varies_[b] = 1;
      }
    }
    return more;
  }

  std::vector<Facts> runs_;
  std::vector<char> varies_;  // by buffer
};

}  // namespace

std::shared_ptr<Constants> Constants::find(const Graph& g, Plan& plan) {
  Finder finder(g, plan);
  if (!finder.find()) return nullptr;
  auto found = std::make_shared<Constants>();
  found->at_.assign(g.buffers.size(), -1);
  for (size_t r = 0; r < plan.runs.size(); ++r) {
    if (!finder.constant(r)) continue;
    ++found->runs_;
    each_step(plan, plan.runs[r], [&](int k) { found->steps_.push_back(static_cast<size_t>(k)); });
    touched(g, plan, plan.runs[r], [&](const Operand& o) {
      ptrdiff_t& at = found->at_[static_cast<size_t>(o.buffer)];
      if (at >= 0) return;
      at = static_cast<ptrdiff_t>(found->bytes_);
      constexpr size_t kAlignment = 64;
      found->bytes_ += (g.buffers[static_cast<size_t>(o.buffer)].bytes + kAlignment) / kAlignment * kAlignment;
    });
  }
  if (found->bytes_ < kLeast || found->bytes_ > kMost) return nullptr;
  for (size_t r = 0; r < plan.runs.size(); ++r) plan.runs[r].constant = finder.constant(r);
  return found;
}

Constants::Session::Session(Constants* constants, const Graph& g, std::span<const unsigned char> data,
                            const std::vector<size_t>& data_at)
    : constants_(constants) {
  if (!constants_) return;
  const auto of = [&](size_t k) {
    const size_t end = k + 1 < data_at.size() ? data_at[k + 1] : data.size();
    return data.subspan(data_at[k], end - data_at[k]);
  };
  {
    const std::lock_guard lock(constants_->mutex_);
    known_ = constants_->block_ != nullptr;
    const unsigned char* then = constants_->numbers_.data();
    for (size_t i = 0; i < constants_->steps_.size() && known_; ++i) {
      const size_t k = constants_->steps_[i];
      known_ = same_numbers(g.steps[k], of(k).data(), then);
      then += of(k).size();
    }
    if (known_) block_ = constants_->block_;
  }
  if (known_) return;
  block_ = StorageBlock::allocate(constants_->bytes_);
  for (size_t k : constants_->steps_) numbers_.insert(numbers_.end(), of(k).begin(), of(k).end());
}

void Constants::Session::finish() {
  if (!constants_ || known_) return;
  const std::lock_guard lock(constants_->mutex_);
  constants_->block_ = block_;
  constants_->numbers_ = std::move(numbers_);
}

}  // namespace weft::graph
