#include "compile/replay.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "compile/code.h"
#include "compile/constants.h"
#include "compile/execute.h"
#include "compile/report.h"
#include "compile/tune.h"
#include "core/error.h"
#include "core/ops/conv.h"
#include "core/ops/matmul.h"

namespace weft::graph {
namespace {

bool same_scalar(const unsigned char* a, const unsigned char* b) {
  Scalar x, y;
  std::memcpy(&x, a, sizeof x);
  std::memcpy(&y, b, sizeof y);
  const double d[] = {x.f64(), y.f64()};
  return x.i64() == y.i64() && std::memcmp(&d[0], &d[1], sizeof d[0]) == 0 && x.dtype() == y.dtype();
}

bool same_ops(const Graph& a, const Graph& b) {
  return std::equal(a.steps.begin(), a.steps.end(), b.steps.begin(), b.steps.end(),
                    [](const Step& x, const Step& y) { return x.same(y); });
}

}  // namespace

bool same_numbers(const Step& s, const unsigned char* a, const unsigned char* b) {
  if (!s.pointwise()) return s.attrs_bytes == 0 || std::memcmp(a, b, s.attrs_bytes) == 0;
  for (size_t p = 0; p < static_cast<size_t>(s.params); ++p)
    if (!same_scalar(a + p * sizeof(Scalar), b + p * sizeof(Scalar))) return false;
  for (size_t i = 0; i < s.in.size(); ++i)
    if (s.in[i].buffer == Operand::kNumber && std::memcmp(a + number_at(s, i), b + number_at(s, i), kNumber) != 0)
      return false;
  return true;
}

std::string Facts::difference(const Facts& now) const {
  // Calls that begin at once in several threads may each keep a recording of the same.
  if (entry != now.entry && !same_ops(entry->graph, now.entry->graph)) return "its ops change from call to call";
  const Graph& g = entry->graph;
  const auto at = [&](size_t k) {
    return detail::format("step {}, {}{}", {k, g.steps[k].name(), call_text(g.sites[k])});
  };
  for (size_t k = 0; k < g.steps.size(); ++k)
    if (!same_numbers(g.steps[k], &data[data_at[k]], &now.data[data_at[k]]))
      return "numbers change from call to call: " + at(k);
  for (size_t b = 0; b < sources.size(); ++b) {
    if (sources[b] == now.sources[b]) continue;
    for (size_t k = 0; k < g.steps.size(); ++k)
      for (const Operand& o : g.steps[k].in)
        if (o.buffer == static_cast<int>(b)) return "a captured tensor is another one: " + at(k);
    return "a captured tensor is another one";
  }
  if (results.size() != now.results.size()) return "the number of results changes from call to call";
  for (size_t i = 0; i < results.size(); ++i)
    if (!results[i].same(now.results[i])) return detail::format("result {} is another one from call to call", {i});
  return plan == now.plan || plan->alive == now.plan->alive ? "" : "other tensors outlive the call";
}

Replayable::Replayable(Facts f, std::vector<std::shared_ptr<const Captured>> held)
    : facts(std::move(f)), captured(std::move(held)) {
  result.assign(facts.entry->graph.buffers.size(), 0);
  for (const Facts::Result& r : facts.results)
    if (r.kind == Facts::Result::Kind::made) result[static_cast<size_t>(r.view.buffer)] = 1;
}

Replayer::Replayer(std::shared_ptr<const Replayable> what, bool freezing) : what_(std::move(what)) {
  const Graph& g = what_->graph();
  storages_ = std::make_unique<Storage[]>(g.buffers.size());
  patches_.resize(g.buffers.size());
  for (size_t b = 0; b < g.buffers.size(); ++b) {
    storages_[b].owned = false;
    storages_[b].bytes = g.buffers[b].bytes;
    storages_[b].retain();  // never the last owner: what kernels make of it ends first
  }
  numbers_.owned = false;
  numbers_.retain();
  for (const Plan::Run& run : what_->facts.plan->runs) {
    if (run.fused)
      prepare_group(run);
    else
      prepare_call(run.first, freezing);
    runs_.push_back({run.fused ? static_cast<int>(groups_.size()) - 1 : -1, calls_.size() - 1, &run});
  }
  // Vectors do not move any more: now places have addresses.
  size_t at = 0;
  for (const Call& c : calls_) {
    const auto remember = [&](const Operand& o) {
      if (o.in_memory())
        patches_[static_cast<size_t>(o.buffer)].push_back(
            {&tensors_[at].impl()->data, o.offset * static_cast<ptrdiff_t>(itemsize(o.dtype))});
      ++at;
    };
    for (const Operand& o : c.step->in) remember(o);
    for (const Operand& o : c.step->out) remember(o);
  }
  for (const Run& run : runs_) {
    if (run.group < 0) continue;
    Group& group = groups_[static_cast<size_t>(run.group)];
    for (size_t i = 0; i < group.places.size(); ++i) {
      if (!group.places[i].in_memory()) continue;
      const Operand& o = what_->facts.plan->sources[static_cast<size_t>(run.plan->places_at) + i].in(g);
      if (o.in_memory())
        patches_[static_cast<size_t>(o.buffer)].push_back(
            {&group.places[i].data, o.offset * static_cast<ptrdiff_t>(itemsize(o.dtype))});
    }
  }
}

Replayer::~Replayer() = default;

void Replayer::prepare_group(const Plan::Run& run) {
  const Facts& f = what_->facts;
  const Plan& plan = *f.plan;
  Group group;
  group.places.assign(plan.places.begin() + run.places_at, plan.places.begin() + run.places_at + run.places);
  for (size_t i = 0; i < group.places.size(); ++i) {
    if (!group.places[i].in_memory()) continue;
    const Plan::Source& from = plan.sources[static_cast<size_t>(run.places_at) + i];
    const Step& s = what_->graph().steps[static_cast<size_t>(from.step)];
    if (from.input >= 0 && s.in[static_cast<size_t>(from.input)].buffer == Operand::kNumber)
      group.places[i].data =
          reinterpret_cast<char*>(const_cast<unsigned char*>(&f.data[f.data_at[static_cast<size_t>(from.step)]])) +
          number_at(s, static_cast<size_t>(from.input));
  }
  group.steps.assign(plan.fused_steps.begin() + run.steps_at, plan.fused_steps.begin() + run.steps_at + run.steps);
  for (size_t i = 0; i < group.steps.size(); ++i) {
    const auto k = static_cast<size_t>(plan.step_of[static_cast<size_t>(run.steps_at) + i]);
    group.steps[i].params =
        what_->graph().steps[k].params ? reinterpret_cast<const Scalar*>(&f.data[f.data_at[k]]) : nullptr;
  }
  if (run.rows >= 0)
    for (const cpu::RowCall& c : plan.row_groups[static_cast<size_t>(run.rows)].calls)
      group.attrs.push_back(&f.data[f.data_at[static_cast<size_t>(c.step)]]);
  groups_.push_back(std::move(group));
}

void Replayer::prepare_call(int step, bool freezing) {
  const Facts& f = what_->facts;
  const auto k = static_cast<size_t>(step);
  const Step& s = what_->graph().steps[k];
  calls_.push_back({&s, s.params || s.attrs_bytes ? &f.data[f.data_at[k]] : nullptr, tensors_.size()});
  if (freezing && (s.op == &LinearOp::record || s.op == &ConvOp::record) && s.in[1].in_memory()) {
    const auto b = static_cast<size_t>(s.in[1].buffer);
    const Storage* weight = f.sources[b].captured;
    if (weight && weight->owned && !f.written[b]) {
      calls_.back().frozen = static_cast<int>(frozen_.size());
      frozen_.push_back({weight, nullptr, 0, {}});
    }
  }
  for (size_t i = 0; i < s.in.size(); ++i) {
    const Operand& o = s.in[i];
    if (o.buffer == Operand::kNumber) {
      tensors_.push_back(tensor_of(o, numbers_));
      tensors_.back().impl()->data = const_cast<unsigned char*>(&f.data[f.data_at[k] + number_at(s, i)]);
    } else {
      tensors_.push_back(o.in_memory() ? tensor_of(o, storages_[static_cast<size_t>(o.buffer)]) : Tensor());
    }
  }
  for (const Operand& o : s.out)
    tensors_.push_back(o.in_memory() ? tensor_of(o, storages_[static_cast<size_t>(o.buffer)]) : Tensor());
}

void Replayer::run_frozen(Frozen& weight, const OpCall& call) {
  const uint32_t version = weight.storage->version.load(std::memory_order_relaxed);
  if (weight.data != weight.storage->data || weight.version != version) weight.packed.clear();
  weight.data = weight.storage->data, weight.version = version;
  try {
    const cpu::OfferPackedWeight offer(weight.packed);
    call.op.cpu(call);
  } catch (...) {
    weight.packed.clear();
    throw;
  }
}

void Replayer::point(size_t buffer, char* data) {
  if (storages_[buffer].data == data) return;
  storages_[buffer].data = data;
  for (const Patch& p : patches_[buffer]) {
    char* at = data + p.offset;
    std::memcpy(p.where, &at, sizeof at);
  }
}

bool Replayer::run(const std::vector<const Tensor*>& arguments, std::vector<Tensor>& results, bool tunes) {
  const Facts& f = what_->facts;
  const Graph& g = what_->graph();
  const auto source = [&](size_t b) {
    const Facts::Source& s = f.sources[b];
    return s.kind == Facts::Source::Kind::argument ? arguments[static_cast<size_t>(s.argument)]->impl()->storage
                                                   : s.captured;
  };
  std::vector<std::pair<const char*, const char*>> memory;
  bool foreign = false;
  for (size_t b = 0; b < f.sources.size(); ++b) {
    if (f.sources[b].kind == Facts::Source::Kind::born) continue;
    foreign |= !source(b)->owned;
  }
  if (foreign) [[unlikely]] {
    for (size_t b = 0; b < f.sources.size(); ++b)
      if (f.sources[b].kind != Facts::Source::Kind::born) {
        const char* data = static_cast<const char*>(source(b)->data);
        memory.push_back({data, data + source(b)->bytes});
      }
    std::sort(memory.begin(), memory.end());
    for (size_t i = 1; i < memory.size(); ++i)
      if (memory[i].first < memory[i - 1].second) return false;
  }

  std::optional<Block> block;
  const Layout& layout = f.plan->layout;
  if (layout.bytes) block.emplace(layout.bytes);
  std::vector<Tensor> made;  // owners of the memory of results
  for (size_t b = 0; b < f.sources.size(); ++b) {
    if (f.sources[b].kind != Facts::Source::Kind::born) {
      point(b, static_cast<char*>(source(b)->data));
    } else if (what_->result[b]) {
      Storage* s = Storage::allocate(g.buffers[b].bytes, Device());
      point(b, static_cast<char*>(s->data));
      TensorImpl* p = TensorImpl::create();
      p->storage = s;
      p->offset = static_cast<int64_t>(b);
      made.push_back(Tensor::from_impl(p));
    } else if (f.plan->keeps(b)) {
      point(b, f.plan->kept->place(b));
    } else if (layout.at[b] >= 0) {
      point(b, block->at() + layout.at[b]);
    }
  }
  {
    const Running running;
    const Generated* code = f.plan->code->use(g, *f.plan);
    Tuner::Session tuning(tunes ? f.plan->tuner.get() : nullptr, g, *f.plan, code);
    auto move = layout.moves.begin();
    for (size_t r = 0; r < runs_.size(); ++r) {
      const Run& run = runs_[r];
      for (; move != layout.moves.end() && move->run <= static_cast<int>(r); ++move)
        point(static_cast<size_t>(move->buffer), block->at() + move->at);
      if (run.group >= 0) {
        const Group& group = groups_[static_cast<size_t>(run.group)];
        const Choice& choice = tuning.begin(r);
        const auto loops = Generated::of(choice.records ? nullptr : code, r);
        if (run.plan->rows >= 0) {
          cpu::run_rows(f.plan->row_groups[static_cast<size_t>(run.plan->rows)], group.steps, group.places, group.attrs,
                        loops, choice.cut);
        } else {
          const Operand& out = g.steps[static_cast<size_t>(run.plan->first)].out[0];
          cpu::run_fused(out.sizes, out.strides, group.steps, group.places, run.plan->tiles,
                         loops.empty() ? std::span<const cpu::FusedSegment>() : loops[0], choice.cut);
        }
        tuning.end(r);
        continue;
      }
      const Call& c = calls_[run.call];
      const Step& s = *c.step;
      const Tensor* in = tensors_.data() + c.first;
      Tensor* out = tensors_.data() + c.first + s.in.size();
      const int n_in = static_cast<int>(s.in.size());
      if (s.pointwise())
        cpu::run_pointwise(*s.loops, s.compute, s.truth, out[0], in, n_in, reinterpret_cast<const Scalar*>(c.data));
      else if (const OpCall call{*s.op, in, n_in, out, static_cast<int>(s.out.size()), c.data}; c.frozen >= 0)
        run_frozen(frozen_[static_cast<size_t>(c.frozen)], call);
      else
        s.op->cpu(call);
    }
    tuning.finish();
  }
  for (size_t b = 0; b < f.sources.size(); ++b)
    if (f.sources[b].kind != Facts::Source::Kind::born && f.written[b]) source(b)->bump("a compiled function");

  for (const Facts::Result& r : f.results) {
    using Kind = Facts::Result::Kind;
    if (r.kind == Kind::undefined) {
      results.emplace_back();
    } else if (r.kind == Kind::argument) {
      results.push_back(*arguments[static_cast<size_t>(r.at)]);
    } else if (r.kind == Kind::earlier) {
      results.push_back(results[static_cast<size_t>(r.at)]);
    } else {
      const auto owner =
          std::find_if(made.begin(), made.end(), [&](const Tensor& t) { return t.impl()->offset == r.view.buffer; });
      results.push_back(tensor_of(r.view, *owner->impl()->storage));
      results.back().impl()->inference = r.inference;
    }
  }
  return true;
}

}  // namespace weft::graph
