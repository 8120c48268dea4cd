#include "compile/constants.h"

#include <algorithm>

#include "compile/execute.h"
#include "compile/layout.h"
#include "compile/record_text.h"
#include "compile/recorder.h"
#include "compile/report.h"
#include "core/error.h"
#include "core/ops/copy.h"
#include "core/ops/gather.h"
#include "core/ops/index.h"
#include "core/ops/matmul.h"
#include "core/ops/range.h"
#include "core/ops/reduce.h"
#include "core/ops/scan.h"
#include "core/ops/shape.h"
#include "core/ops/softmax.h"

namespace weft::graph {
namespace {

constexpr size_t kLeast = 4096;             // bytes that the steps make
constexpr size_t kMost = size_t{16} << 20;  // bytes kept between calls
constexpr size_t kMostMade = 4 * kMost;     // bytes in memory while they are made
constexpr int kMostRounds = 16;
constexpr size_t kMostOfAll = 4 * kMost;             // bytes kept in the process
constexpr int64_t kFewChanges = 2, kRunsEach = 128;  // of numbers, and runs that excuse one more
constexpr size_t kAlignment = 64;

std::atomic<size_t> kept_in_all = 0;

// Null: there is too much already.
std::shared_ptr<const void> count(size_t bytes) {
  if (kept_in_all.fetch_add(bytes) + bytes > kMostOfAll) {
    kept_in_all.fetch_sub(bytes);
    return nullptr;
  }
  return std::shared_ptr<const void>(&kept_in_all, [bytes](const void*) { kept_in_all.fetch_sub(bytes); });
}

// Whether results depend on nothing but the bytes and numbers that the kernel is given, which it takes as they are: the
// checks of values before it (core/ops/require.h) do not run again. A user's op may read more.
bool repeats(const Step& s) {
  if (s.pointwise()) return record_text(s.info) != nullptr;
  static const OpRecord* const known[] = {
      &ArangeOp::record, &LinspaceOp::record, &FillOp::record,     &CopyOp::record,        &ToCopyOp::record,
      &CatOp::record,    &FlipOp::record,     &TriangleOp::record, &LinearIndexOp::record, &IndexOp::record,
      &GatherOp::record, &ScanOp::cumsum,     &ScanOp::cumprod,    &SumOp::record,         &MeanOp::record,
      &AmaxOp::record,   &AminOp::record,     &SoftmaxOp::record,  &LogSoftmaxOp::record,  &MmOp::record,
      &MmOp::batched,    &LinearOp::record};
  return std::find(std::begin(known), std::end(known), s.op) != std::end(known);
}

// Whether input `i` is the result, all of which the step writes without reading it.
bool overwritten(const Step& s, size_t i) {
  return (s.op == &FillOp::record || s.op == &CopyOp::record) && i == 0 && s.in[0].same_place(s.out[0]);
}

class Finder {
 public:
  Finder(const Graph& g, const Plan& plan, Numerics numerics)
      : g_(g),
        numerics_(numerics),
        live_(g.steps.size(), 0),
        constant_(g.steps.size(), 0),
        in_memory_(g.buffers.size(), 0),
        reads_(g.buffers.size(), 0) {
    for (const Plan::Run& run : plan.runs) {
      each_step(plan, run, [&](int k) { live_[static_cast<size_t>(k)] = 1; });
      touched(g, plan, run, [&](const Operand& o) { in_memory_[static_cast<size_t>(o.buffer)] = 1; });
    }
    for (size_t b = 0; b < g.buffers.size(); ++b) varies_.push_back(plan.alive[b] || !g.buffers[b].born);
  }

  // False: there are none, or it takes too long to tell.
  bool find() {
    for (int round = 0; round < kMostRounds; ++round) {
      if (go_through()) continue;
      return std::find(constant_.begin(), constant_.end(), 1) != constant_.end();
    }
    return false;
  }
  Kept take() {
    Kept kept;
    kept.at.assign(g_.buffers.size(), -1);
    for (size_t b = 0; b < g_.buffers.size(); ++b) {
      if (state_[b] != kRead) continue;
      kept.at[b] = static_cast<ptrdiff_t>(kept.bytes);
      kept.bytes += (g_.buffers[b].bytes + kAlignment - 1) / kAlignment * kAlignment;
    }
    kept.steps = constant_;
    return kept;
  }
  size_t made() const {
    size_t bytes = 0;
    for (size_t b = 0; b < g_.buffers.size(); ++b)
      if (state_[b]) bytes += g_.buffers[b].bytes;
    return bytes;
  }

 private:
  static constexpr char kWritten = 1, kRead = 2;  // by constant steps alone, and by another one since

  // Whether a buffer varies of which that was not known.
  bool go_through() {
    state_.assign(varies_.size(), 0);
    bool more = false;
    for (size_t k = 0; k < g_.steps.size(); ++k) {
      if (!live_[k]) continue;
      const Step& s = g_.steps[k];
      constant_[k] = could_be(s);
      if (constant_[k]) {
        s.each_written([&](const Operand& o) {
          const auto b = static_cast<size_t>(o.buffer);
          state_[b] = kWritten;
          reads_[b] = reads_as_much(s, g_.buffers[b].bytes);
        });
        continue;
      }
      for (const Operand& o : s.in)
        if (o.in_memory() && state_[static_cast<size_t>(o.buffer)]) state_[static_cast<size_t>(o.buffer)] = kRead;
      s.each_written([&](const Operand& o) {
        const auto b = static_cast<size_t>(o.buffer);
        more |= state_[b] != 0;
        varies_[b] = 1;
        state_[b] = 0;
      });
    }
    for (size_t b = 0; b < state_.size(); ++b)  // to read what never was in memory may cost more than to make it
      if (state_[b] == kRead && !in_memory_[b] && !reads_[b]) {
        varies_[b] = 1;
        more = true;
      }
    return more;
  }

  // Whether what the step makes takes as much reading as if it lay in memory.
  bool reads_as_much(const Step& s, size_t bytes) const {
    return std::any_of(s.in.begin(), s.in.end(), [&](const Operand& o) {
      if (!o.in_memory()) return false;
      const auto b = static_cast<size_t>(o.buffer);
      return g_.buffers[b].bytes >= bytes && (in_memory_[b] || reads_[b]);
    });
  }

  bool could_be(const Step& s) const {
    if (s.out.empty() || !repeats(s)) return false;
    // Rounded here, and perhaps not where it is fused.
    if (numerics_ == Numerics::fast && (s.out[0].dtype == DType::bf16 || s.out[0].dtype == DType::f16)) return false;
    for (size_t i = 0; i < s.in.size(); ++i)
      if (s.in[i].in_memory() && !overwritten(s, i) && !state_[static_cast<size_t>(s.in[i].buffer)]) return false;
    bool could = true;
    s.each_written([&](const Operand& o) {
      const auto b = static_cast<size_t>(o.buffer);
      could &= !varies_[b] && state_[b] != kRead && (state_[b] || o.covers(g_.buffers[b].bytes));
    });
    return could;
  }

  const Graph& g_;
  const Numerics numerics_;
  std::vector<char> live_, constant_;                     // by step
  std::vector<char> in_memory_, varies_, state_, reads_;  // by buffer
};

// Nothing where there are none that matter.
Kept find_constants(const Graph& g, const Plan& plan, Numerics numerics) {
  Finder finder(g, plan, numerics);
  if (!finder.find() || finder.made() < kLeast || finder.made() > kMostMade) return {};
  Kept kept = finder.take();
  return kept.bytes > 0 && kept.bytes <= kMost ? kept : Kept();
}

}  // namespace

std::shared_ptr<const Plan> Constants::plan_for(const Graph& recorded, const Plan& base,
                                                std::span<const unsigned char> data,
                                                const std::vector<size_t>& data_at) {
  const std::lock_guard lock(mutex_);
  if (given_up_) return nullptr;
  const Graph& g = base.graph(recorded);
  if (found_.steps.empty()) {
    found_ = find_constants(g, base, options_.numerics);
    if (found_.steps.empty()) {
      given_up_ = true;
      return nullptr;
    }
  }
  const auto of = [&](size_t k) {
    const size_t end = k + 1 < data_at.size() ? data_at[k + 1] : data.size();
    return data.subspan(data_at[k], end - data_at[k]);
  };
  const unsigned char* before = numbers_.data();
  bool same = runs_ > 0;
  for (size_t k = 0; k < found_.steps.size() && same; ++k) {
    if (!found_.steps[k]) continue;
    same = same_numbers(g.steps[k], of(k).data(), before);
    before += of(k).size();
  }
  ++runs_;
  if (!same) {
    changes_ += runs_ > 1;
    if (changes_ > kFewChanges + runs_ / kRunsEach) given_up_ = true;
    plan_ = nullptr;
    numbers_.clear();
    for (size_t k = 0; k < found_.steps.size(); ++k)
      if (found_.steps[k]) numbers_.insert(numbers_.end(), of(k).begin(), of(k).end());
  } else if (!plan_) {
    try {
      plan_ = make(recorded, base, [&](size_t k) { return of(k).data(); });
      if (plan_ && debug_level() >= 3) debug(3, "plan:\n" + plan_text(recorded, *plan_));
    } catch (const Error&) {  // the plan that leaves nothing out may do, or tells whoever needs it
      given_up_ = true;
    } catch (const std::bad_alloc&) {
      given_up_ = true;
    }
  }
  return plan_;
}

template <class Data>
std::shared_ptr<const Plan> Constants::make(const Graph& recorded, const Plan& base, Data data_of) const {
  const Graph& g = base.graph(recorded);
  const auto kept = std::make_shared<Kept>(found_);
  kept->counted = count(kept->bytes);
  if (!kept->counted) return nullptr;
  kept->block = StorageBlock::allocate(kept->bytes);
  const Running running;
  std::vector<Block> blocks;  // of what only they themselves read
  const auto storages = std::make_unique<Storage[]>(g.buffers.size());
  for (size_t b = 0; b < g.buffers.size(); ++b) {
    storages[b].owned = false;
    storages[b].bytes = g.buffers[b].bytes;
    storages[b].retain();  // never the last owner: what kernels make of it ends first
  }
  for (size_t k = 0; k < g.steps.size(); ++k) {
    if (!kept->steps[k]) continue;
    g.steps[k].each_written([&](const Operand& o) {
      const auto b = static_cast<size_t>(o.buffer);
      if (storages[b].data) return;
      storages[b].data =
          kept->holds(b) ? kept->place(b) : blocks.emplace_back(std::max(storages[b].bytes, size_t{1})).at();
    });
  }
  std::vector<Tensor> in, out;
  for (size_t k = 0; k < g.steps.size(); ++k)
    if (kept->steps[k]) run_step(g.steps[k], data_of(k), storages.get(), in, out);
  return make_plan(recorded, base.alive, options_, kept);
}

std::shared_ptr<const Plan> Constants::latest() const {
  const std::lock_guard lock(mutex_);
  return plan_;
}

bool Constants::open() const {
  const std::lock_guard lock(mutex_);
  return !given_up_ && !plan_ && runs_ < kFewChanges + 2;
}

std::shared_ptr<const Plan> in_use(const std::shared_ptr<const Plan>& plan) {
  std::shared_ptr<const Plan> kept = plan->constants ? plan->constants->latest() : nullptr;
  return kept ? kept : plan;
}

}  // namespace weft::graph
