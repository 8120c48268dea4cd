#include "compile/plan.h"

#include <algorithm>

#include "compile/code.h"
#include "compile/constants.h"
#include "compile/layout.h"
#include "compile/plan_choice.h"
#include "compile/share.h"
#include "compile/tune.h"

namespace weft::graph {
namespace {

constexpr int kMostSteps = 48;  // of a group
constexpr size_t kMostTouched = 96;

int64_t numel(const Operand& o) {
  int64_t n = 1;
  for (int64_t s : o.sizes) n *= s;
  return n;
}
size_t bytes(const Operand& o) { return static_cast<size_t>(numel(o)) * itemsize(o.dtype); }

bool single(const Operand& o) { return o.buffer == Operand::kNumber || numel(o) == 1; }

// Read in place or gathered along rows; operands that run across the rows go through the blocks of run_pointwise.
bool readable(const Operand& o, const Operand& out) {
  if (single(o) || linear(o, out)) return true;
  return !o.sizes.empty() && (o.sizes.back() == 1 || o.strides.back() <= 1) && is_contiguous(out.sizes, out.strides);
}

}  // namespace

bool fusable(const Step& s) {
  if (!s.pointwise()) return false;
  const Operand& out = s.out[0];
  if (!detail::is_dense(out.sizes, out.strides)) return false;
  for (const Operand& o : s.in) {
    if (!readable(o, out)) return false;
    if (o.in_memory() && o.buffer == out.buffer && !o.same_place(out)) return false;
  }
  return true;
}

void Grouper::clear() {
  rows_.clear();
  touched_.clear();
  written_.clear();
  open_ = false;
  steps_ = 0;
}

bool Grouper::fits(const Step& s) const {
  const Operand& out = s.out[0];
  if (steps_ >= kMostSteps || touched_.size() >= kMostTouched || out.sizes != sizes_ || out.strides != strides_)
    return false;
  for (const Operand& t : touched_)
    if (t.buffer == out.buffer && !t.same_place(out)) return false;
  for (const Operand& o : s.in)
    for (const Operand& w : written_)
      if (o.buffer == w.buffer && !o.same_place(w)) return false;
  return true;
}

bool Grouper::join(const Step& s) {
  const bool can = fusable(s);
  const bool joins = (by_rows_ && rows_.joins(s)) || (open_ && can && !rows_.structured() && fits(s));
  if (!joins) clear();
  if (by_rows_) rows_.add(s);
  open_ = can;
  if (!can) return joins;
  if (!joins) {
    sizes_ = s.out[0].sizes;
    strides_ = s.out[0].strides;
  }
  ++steps_;
  for (const Operand& o : s.in)
    if (o.in_memory()) touched_.push_back(o);
  touched_.push_back(s.out[0]);
  written_.push_back(s.out[0]);
  return joins;
}

namespace {

bool tunes(const CompileOptions& o) {
  return o.mode == CompileMode::max_autotune || o.mode == CompileMode::max_autotune_no_cudagraphs;
}

// Which groups that could go by rows do.
enum class ByRows { where_it_pays, none, all };

class Planner {
 public:
  Planner(const Graph& recorded, std::vector<char> alive, const CompileOptions& o, ByRows by_rows,
          std::shared_ptr<const Kept> kept)
      : by_rows_(by_rows), numerics_(o.numerics), plan_(std::make_shared<Plan>()), g_(rewrite(recorded, alive)) {
    plan_->alive = std::move(alive);
    plan_->kept = std::move(kept);
    find_needed();
    for (int first = 0; first < static_cast<int>(g_.steps.size());) {
      int end = first + 1;
      while (end < static_cast<int>(g_.steps.size()) && step(end).group == step(first).group) ++end;
      if (!add_rows(first, end)) {  // perhaps without the pointwise steps before the first structured op
        int call = first;
        while (call < end && step(call).pointwise()) ++call;
        add_apart(first, call);
        if (call == first || call == end || !add_rows(call, end)) add_apart(call, end);
      }
      first = end;
    }
    order_runs(g_, *plan_);
    if (numerics_ == Numerics::match) recompute(g_, *plan_);
    lay_out(g_, *plan_);
    plan_->code = std::make_shared<Code>();
    if (tunes(o)) plan_->tuner = std::make_shared<Tuner>();
  }
  std::shared_ptr<Plan> take() { return plan_; }
  bool declined_rows() const { return declined_; }

 private:
  const Graph& rewrite(const Graph& g, const std::vector<char>& alive) {
    plan_->rewritten = share_common(g, alive, *plan_);
    return plan_->graph(g);
  }
  const Step& step(int k) const { return g_.steps[static_cast<size_t>(k)]; }

  // Which steps run at all, and after which step a buffer's contents are of no use. A pointwise step whose result
  // nobody reads later and nobody holds is dead.
  void find_needed() {
    last_use_.assign(g_.buffers.size(), -1);
    dead_.assign(g_.steps.size(), 0);
    for (size_t b = 0; b < g_.buffers.size(); ++b)
      if (plan_->alive[b]) last_use_[b] = static_cast<int>(g_.steps.size());
    for (int k = static_cast<int>(g_.steps.size()) - 1; k >= 0; --k) {
      const Step& s = step(k);
      if (plan_->kept && plan_->kept->steps[static_cast<size_t>(k)]) {
        dead_[static_cast<size_t>(k)] = 1;
        if (s.pointwise()) continue;
        for (const Operand& o : s.out) plan_->bytes_before += bytes(o);
        continue;
      }
      if (s.pointwise() && last_use_[static_cast<size_t>(s.out[0].buffer)] < 0) {
        dead_[static_cast<size_t>(k)] = 1;
        ++plan_->dead_ops;
        continue;
      }
      const auto use = [&](const Operand& o) {
        if (o.in_memory())
          last_use_[static_cast<size_t>(o.buffer)] = std::max(last_use_[static_cast<size_t>(o.buffer)], k);
      };
      for (const Operand& o : s.in) use(o);
      if (!s.pointwise())
        for (const Operand& o : s.out) use(o);
    }
  }

  // A group whose structured ops run by themselves.
  void add_apart(int first, int end) {
    Grouper grouper(false);
    for (int k = first; k < end;) {
      grouper.clear();
      grouper.join(step(k));
      int last = k + 1;
      while (last < end && grouper.join(step(last))) ++last;
      add(k, last);
      k = last;
    }
  }

  // Whether the step cannot go tile by tile with the steps `part` of its group of rows.
  bool apart(const std::vector<int>& part, const Step& s) const {
    if (!linear(step(part[0]).out[0], s.out[0])) return true;
    const auto elsewhere = [](const Operand& a, const Operand& b) { return a.buffer == b.buffer && !a.same_place(b); };
    for (int k : part) {
      for (const Operand& o : step(k).in)
        if (elsewhere(o, s.out[0])) return true;
      for (const Operand& o : s.in)
        if (elsewhere(o, step(k).out[0])) return true;
      if (elsewhere(step(k).out[0], s.out[0])) return true;
    }
    return false;
  }

  // Runs the group by rows if it has a structured op and gains by it.
  bool add_rows(int first, int end) {
    std::vector<int> live;
    int64_t rows = 0;
    for (int k = first; k < end; ++k) {
      if (dead_[static_cast<size_t>(k)]) continue;
      live.push_back(k);
      if (!step(k).pointwise()) rows = step(k).rows.rows;
    }
    if (live.size() < 2 || rows == 0 || by_rows_ == ByRows::none) return false;
    if (by_rows_ == ByRows::where_it_pays && !rows_pay(g_, live, last_use_, end)) {
      declined_ = true;
      return false;
    }
    ++plan_->kernels;
    const size_t after = plan_->bytes_after, places_at = plan_->places.size();
    Plan::Run run{.first = live[0], .count = static_cast<int>(live.size()), .fused = true};
    run.steps_at = static_cast<int>(plan_->fused_steps.size());
    run.places_at = static_cast<int>(places_at);
    cpu::RowGroup group;
    group.rows = rows;
    for (size_t i = 0; i < live.size();) {
      const Step& s = step(live[i]);
      for (const Operand& o : s.in) plan_->bytes_before += o.in_memory() ? bytes(o) : 0;
      for (const Operand& o : s.out) plan_->bytes_before += o.in_memory() ? bytes(o) : 0;
      std::vector<int> part{live[i++]};
      if (!s.pointwise()) {
        ++plan_->fused_ops;
        group.parts.push_back(call_part(part[0], places_at, group));
        continue;
      }
      while (i < live.size() && step(live[i]).pointwise() && !apart(part, step(live[i]))) part.push_back(live[i++]);
      Plan::Run tiles{.first = part[0], .count = static_cast<int>(part.size())};
      fuse(tiles, part, part.back() + 1);
      group.parts.push_back({.steps_at = tiles.steps_at - run.steps_at,
                             .steps = tiles.steps,
                             .places_at = tiles.places_at - run.places_at,
                             .places = tiles.places,
                             .tiles = tiles.tiles,
                             .sizes = s.out[0].sizes,
                             .made = {}});
    }
    run.steps = static_cast<int>(plan_->fused_steps.size()) - run.steps_at;
    run.places = static_cast<int>(plan_->places.size()) - run.places_at;
    run.rows = static_cast<int>(plan_->row_groups.size());
    lay_out_rows(g_, live, last_use_, end, *plan_, places_at, group);
    plan_->bytes_after = after + group.bytes;
    plan_->row_groups.push_back(std::move(group));
    plan_->runs.push_back(run);
    return true;
  }

  cpu::RowPart call_part(int k, size_t places_at, cpu::RowGroup& group) {
    const Step& s = step(k);
    cpu::RowCall call{
        .op = s.op, .in = {}, .out = {}, .attrs_bytes = s.attrs_bytes, .partial = s.rows.partial, .step = k};
    group.chunk = std::max(group.chunk, s.rows.chunk);
    cpu::RowPart part{.call = static_cast<int>(group.calls.size()),
                      .places_at = static_cast<int>(plan_->places.size() - places_at),
                      .sizes = {},
                      .made = {}};
    const auto place = [&](const Operand& o, int input) {
      if (!o.in_memory()) return -1;
      plan_->places.push_back({.dtype = o.dtype, .sizes = o.sizes, .strides = o.strides});
      plan_->sources.push_back({k, input});
      ++part.places;
      return static_cast<int>(plan_->places.size() - places_at) - 1;
    };
    for (size_t i = 0; i < s.in.size(); ++i) call.in.push_back(place(s.in[i], static_cast<int>(i)));
    for (size_t i = 0; i < s.out.size(); ++i) call.out.push_back(place(s.out[i], -1 - static_cast<int>(i)));
    group.calls.push_back(std::move(call));
    return part;
  }

  void add(int first, int end) {
    std::vector<int> live;
    for (int k = first; k < end; ++k) {
      if (step(k).pointwise()) {
        plan_->bytes_before += bytes(step(k).out[0]);
        for (const Operand& o : step(k).in) plan_->bytes_before += o.in_memory() ? bytes(o) : 0;
      }
      if (!dead_[static_cast<size_t>(k)]) live.push_back(k);
    }
    if (live.empty()) return;
    ++plan_->kernels;
    Plan::Run run{.first = live[0], .count = static_cast<int>(live.size())};
    if (live.size() > 1)
      fuse(run, live, end);
    else if (const Step& s = step(live[0]); s.pointwise()) {
      plan_->bytes_after += bytes(s.out[0]);
      for (const Operand& o : s.in) plan_->bytes_after += o.in_memory() ? bytes(o) : 0;
    }
    plan_->runs.push_back(run);
  }

  void fuse(Plan::Run& run, const std::vector<int>& live, int end) {
    run.fused = true;
    run.steps_at = static_cast<int>(plan_->fused_steps.size());
    run.places_at = static_cast<int>(plan_->places.size());
    run.steps = run.count;
    plan_->fused_ops += live.size();
    std::vector<int> last_in_group(g_.buffers.size(), -1);
    for (int k : live) {
      for (const Operand& o : step(k).in)
        if (o.in_memory()) last_in_group[static_cast<size_t>(o.buffer)] = k;
    }
    std::vector<int> place_of(g_.buffers.size(), -1);  // of buffers that lie in the group's own layout
    std::vector<int> free_tiles;
    std::vector<std::pair<int, int>> in_tiles;  // buffer, tile
    for (int k : live) {
      const Step& s = step(k);
      cpu::FusedStep f{.loop = loop(s),
                       .compute = s.compute,
                       .computed = s.computed(),
                       .truth = s.truth,
                       .n_in = static_cast<int>(s.in.size()),
                       .in = {},
                       .out = 0,
                       .params = nullptr};
      for (size_t i = 0; i < s.in.size(); ++i) {
        const Operand& o = s.in[i];
        const bool own = o.in_memory() && linear(o, s.out[0]);
        int place = own ? place_of[static_cast<size_t>(o.buffer)] : -1;
        if (place < 0 || !same_place(run, place, o)) {
          place = new_place(run, k, static_cast<int>(i), o, s.out[0]);
          if (own) place_of[static_cast<size_t>(o.buffer)] = place;
          plan_->bytes_after += o.in_memory() ? bytes(o) : 0;
        }
        f.in[i] = place;
      }
      // Tiles whose last reader this step is can take its result: loops work in place.
      std::erase_if(in_tiles, [&](const auto& t) {
        const bool done = last_in_group[static_cast<size_t>(t.first)] <= k;
        if (done) free_tiles.push_back(t.second);
        return done;
      });
      const Operand& out = s.out[0];
      int& place = place_of[static_cast<size_t>(out.buffer)];
      if (place < 0 || !same_place(run, place, out)) {
        place = new_place(run, k, -1, out, out);
        if (last_use_[static_cast<size_t>(out.buffer)] < end) {
          cpu::FusedPlace& p = plan_->places[static_cast<size_t>(run.places_at + place)];
          p.kind = cpu::FusedPlace::Kind::tile;
          if (numerics_ == Numerics::fast && (p.dtype == DType::bf16 || p.dtype == DType::f16)) p.dtype = f.computed;
          if (free_tiles.empty()) free_tiles.push_back(run.tiles++);
          p.tile = free_tiles.back();
          free_tiles.pop_back();
          in_tiles.push_back({out.buffer, p.tile});
        } else {
          plan_->bytes_after += bytes(out);
        }
      }
      f.out = place;
      plan_->fused_steps.push_back(f);
      plan_->step_of.push_back(k);
    }
    run.places = static_cast<int>(plan_->places.size()) - run.places_at;
  }

  // The place already known for this buffer is the one `o` means.
  bool same_place(const Plan::Run& run, int place, const Operand& o) const {
    return plan_->sources[static_cast<size_t>(run.places_at + place)].in(g_).same_place(o);
  }

  int new_place(const Plan::Run& run, int k, int input, const Operand& o, const Operand& out) {
    using Kind = cpu::FusedPlace::Kind;
    cpu::FusedPlace p{.kind = Kind::memory, .dtype = o.dtype, .sizes = o.sizes, .strides = o.strides};
    if (o.in_memory() && linear(o, out))
      p.kind = Kind::memory;
    else
      p.kind = single(o) ? Kind::single : Kind::strided;
    plan_->places.push_back(p);
    plan_->sources.push_back({k, input});
    return static_cast<int>(plan_->places.size()) - run.places_at - 1;
  }

  static LoopFn loop(const Step& s) {
    return s.compute == DType::f32 ? s.loops->f32 : s.compute == DType::f64 ? s.loops->f64 : s.loops->i64;
  }

  const ByRows by_rows_;
  const Numerics numerics_;
  const std::shared_ptr<Plan> plan_;
  const Graph& g_;
  std::vector<int> last_use_;
  std::vector<char> dead_;
  bool declined_ = false;  // a group could go by rows and is not expected to gain
};

}  // namespace

std::shared_ptr<const Plan> make_plan(const Graph& g, std::vector<char> alive, const CompileOptions& o,
                                      const std::shared_ptr<const Kept>& kept) {
  Planner planner(g, std::move(alive), o, ByRows::where_it_pays, kept);
  const std::shared_ptr<Plan> plan = planner.take();
  const bool by_rows = !plan->row_groups.empty();
  if (tunes(o) && plan->tuner->chooses() && (by_rows || planner.declined_rows()))
    plan->choice =
        std::make_shared<PlanChoice>(Planner(g, plan->alive, o, by_rows ? ByRows::none : ByRows::all, kept).take());
  if (!kept) plan->constants = std::make_shared<Constants>(o);
  return plan;
}

bool Plan::keeps(size_t buffer) const { return kept && kept->holds(buffer); }
const Plan& Plan::chosen() const { return choice && choice->chose_other() ? *choice->other() : *this; }

}  // namespace weft::graph
