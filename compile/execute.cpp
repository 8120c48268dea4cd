// How a recorder runs what it put off: fused groups as one pass, everything else by the op's own kernel.
#include <algorithm>
#include <optional>

#include "compile/code.h"
#include "compile/constants.h"
#include "compile/execute.h"
#include "compile/plan_choice.h"
#include "compile/recorder.h"
#include "compile/report.h"
#include "compile/tune.h"
#include "core/profile.h"

namespace weft::graph {
namespace {

// Memory that somebody else owns may lie over other memory: then only the order of the program will do.
template <class Slots>
bool may_overlap(const Slots& slots) {
  for (size_t a = 0; a < slots.size(); ++a) {
    if (slots[a].owned) continue;
    for (size_t b = 0; b < slots.size(); ++b)
      if (a != b && slots[b].held && slots[a].data < slots[b].data + slots[b].bytes &&
          slots[b].data < slots[a].data + slots[a].bytes)
        return true;
  }
  return false;
}

}  // namespace

Tensor tensor_of(const Operand& o, Storage& storage) {
  TensorImpl* p = TensorImpl::create();
  p->dtype = o.dtype;
  p->device = storage.device;
  storage.retain();
  p->storage = &storage;
  p->sizes = o.sizes;
  p->strides = o.strides;
  p->offset = o.offset;
  p->numel = o.numel;
  p->contiguous = o.contiguous;
  if (storage.data) p->data = static_cast<char*>(storage.data) + o.offset * static_cast<int64_t>(itemsize(o.dtype));
  return Tensor::from_impl(p);
}

const char* Recorder::number(const Step& s, size_t at, size_t input) const {
  return reinterpret_cast<const char*>(&data_[data_at_[at] + number_at(s, input)]);
}

const Scalar* Recorder::params(const Step& s, size_t at) const {
  return s.params ? reinterpret_cast<const Scalar*>(&data_[data_at_[at]]) : nullptr;
}

void run_step(const Step& s, const unsigned char* data, Storage* storages, std::vector<Tensor>& in,
              std::vector<Tensor>& out) {
  Storage number_storage;
  number_storage.owned = false;
  number_storage.retain();
  struct Clear {  // before the number's storage ends, whatever the kernel does
    std::vector<Tensor>&in, &out;
    ~Clear() {
      in.clear();
      out.clear();
    }
  } clear{in, out};
  for (size_t i = 0; i < s.in.size(); ++i) {
    const Operand& o = s.in[i];
    if (o.buffer == Operand::kNumber) {
      in.push_back(tensor_of(o, number_storage));
      in.back().impl()->data = const_cast<unsigned char*>(data + number_at(s, i));
    } else {
      in.push_back(o.in_memory() ? tensor_of(o, storages[o.buffer]) : Tensor());
    }
  }
  for (const Operand& o : s.out) out.push_back(o.in_memory() ? tensor_of(o, storages[o.buffer]) : Tensor());
  if (s.pointwise())
    cpu::run_pointwise(*s.loops, s.compute, s.truth, out[0], in.data(), static_cast<int>(in.size()),
                       s.params ? reinterpret_cast<const Scalar*>(data) : nullptr);
  else
    s.op->cpu({*s.op, in.data(), static_cast<int>(in.size()), out.data(), static_cast<int>(out.size()),
               s.attrs_bytes ? data : nullptr});
}

void Recorder::run_step(size_t at, const Step& s) {
  graph::run_step(s, data_.data() + data_at_[at], storages_.get(), in_, out_);
}

void Recorder::run_group(const Graph& g, const Plan& plan, const Plan::Run& run,
                         std::span<const std::vector<cpu::FusedSegment>> loops, const cpu::FusedCut& cut) {
  std::vector<cpu::FusedPlace> places(plan.places.begin() + run.places_at,
                                      plan.places.begin() + run.places_at + run.places);
  for (size_t i = 0; i < places.size(); ++i) {
    if (!places[i].in_memory()) continue;
    const Plan::Source& from = plan.sources[static_cast<size_t>(run.places_at) + i];
    const Operand& o = from.in(g);
    places[i].data =
        o.in_memory() ? slots_[static_cast<size_t>(o.buffer)].data + o.offset * static_cast<int64_t>(itemsize(o.dtype))
                      : const_cast<char*>(number(g.steps[static_cast<size_t>(from.step)],
                                                 static_cast<size_t>(from.step), static_cast<size_t>(from.input)));
  }
  std::vector<cpu::FusedStep> steps(plan.fused_steps.begin() + run.steps_at,
                                    plan.fused_steps.begin() + run.steps_at + run.steps);
  for (size_t i = 0; i < steps.size(); ++i) {
    const size_t at = static_cast<size_t>(plan.step_of[static_cast<size_t>(run.steps_at) + i]);
    steps[i].params = params(g.steps[at], at);
  }
  if (run.rows >= 0) {
    const cpu::RowGroup& group = plan.row_groups[static_cast<size_t>(run.rows)];
    std::vector<const void*> attrs;
    for (const cpu::RowCall& c : group.calls) attrs.push_back(&data_[data_at_[static_cast<size_t>(c.step)]]);
    cpu::run_rows(group, steps, places, attrs, loops, cut);
    return;
  }
  const Operand& out = g.steps[static_cast<size_t>(run.first)].out[0];
  cpu::run_fused(out.sizes, out.strides, steps, places, run.tiles,
                 loops.empty() ? std::span<const cpu::FusedSegment>() : loops[0], cut);
}

void Recorder::bind_storages() {
  if (storages_size_ < slots_.size()) {
    storages_size_ = 2 * slots_.size();
    storages_ = std::make_unique<Storage[]>(storages_size_);
    for (size_t b = 0; b < storages_size_; ++b) {
      storages_[b].owned = false;
      storages_[b].retain();  // never the last owner: what kernels make of it ends first
    }
  }
  for (size_t b = 0; b < slots_.size(); ++b) {
    storages_[b].data = slots_[b].data;
    storages_[b].bytes = slots_[b].bytes;
    storages_[b].device = slots_[b].device;
  }
}

void Recorder::execute_in_order(const std::vector<Step>& steps) {
  const Running running;
  std::vector<Block> blocks;  // everything lies in memory of its own
  for (Slot& s : slots_) {
    if (!s.lazy) continue;
    s.data = blocks.emplace_back(std::max(s.bytes, size_t{1})).at();
  }
  bind_storages();
  for (size_t k = 0; k < steps.size(); ++k) run_step(k, steps[k]);
}

// Whether the results lie as planned, or each has memory of its own.
const Layout& Recorder::layout_now(const Plan& plan) const {
  const Layout& shared = plan.with_results;
  if (!results_ || !shared.results) return plan.layout;
  for (size_t b = 0; b < shared.at.size(); ++b) {
    if (!plan.alive[b] || shared.at[b] < 0) continue;
    if (b >= slots_.size() || slots_[b].data != results_->data() + shared.at[b]) return plan.layout;
  }
  return results_bytes_ == shared.results ? shared : plan.layout;
}

void Recorder::execute(const Graph& recorded, const Plan& first) {
  if (may_overlap(slots_)) return execute_in_order(recorded.steps);
  PlanChoice::Session choice(recorded, first);
  const Plan& plan = choice.plan();
  const Graph& g = plan.graph(recorded);
  const Running running;
  const Layout& layout = layout_now(plan);
  std::optional<Block> block;
  char *scratch = nullptr, *const results = results_ ? results_->data() : nullptr;
  for (size_t b = 0; b < std::min(slots_.size(), plan.alive.size()); ++b) {
    Slot& s = slots_[b];
    if (plan.keeps(b)) {
      s.data = plan.kept->place(b);
      continue;
    }
    s.lazy |= !plan.alive[b] && !plan.longer.empty() && plan.longer[b];
    if (!s.lazy) continue;
    if (!block && layout.bytes) {
      make_room(layout.bytes);
      scratch = block.emplace(layout.bytes).at();
    }
    s.data = layout.at[b] < 0 ? nullptr : layout.place(layout.at[b], scratch, results);
  }
  bind_storages();
  const Generated* code = plan.code->use(g, plan);
  Tuner::Session tuning(choice.decided() ? plan.tuner.get() : nullptr, g, plan, code);
  auto move = layout.moves.begin();
  for (int r = 0; r < static_cast<int>(plan.runs.size()); ++r) {
    const Plan::Run& run = plan.runs[static_cast<size_t>(r)];
    for (; move != layout.moves.end() && move->run <= r; ++move) {
      const auto b = static_cast<size_t>(move->buffer);
      if (slots_[b].lazy) storages_[b].data = slots_[b].data = layout.place(move->at, scratch, results);
    }
    std::string name;
    if (detail::profiling()) [[unlikely]]
      name = run_text(g, plan, run);
    const detail::ProfileScope scope({.kind = detail::ProfileKind::range, .name = name});
    if (debug_level() >= 4) [[unlikely]]
      debug(4, run_text(g, plan, run));
    if (run.fused) {
      const Choice& way = tuning.begin(static_cast<size_t>(r));
      const auto loops = Generated::of(way.records ? nullptr : code, static_cast<size_t>(r));
      if (cache_.check_fused) [[unlikely]]
        check_group(g, plan, run, loops, way.cut);
      else
        run_group(g, plan, run, loops, way.cut);
      tuning.end(static_cast<size_t>(r));
    } else {
      run_step(static_cast<size_t>(run.first), g.steps[static_cast<size_t>(run.first)]);
    }
  }
  tuning.finish();
  choice.finish();
}

}  // namespace weft::graph
