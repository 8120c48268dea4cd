// Whether what a matched call did can be replayed.
#include <algorithm>

#include "autograd/meta.h"
#include "compile/direct.h"
#include "compile/execute.h"
#include "compile/report.h"
#include "core/error.h"
#include "core/ops/dropout.h"
#include "core/ops/random.h"

namespace weft::graph {

bool draws(const OpRecord* op) {
  for (const OpRecord* r : {&RandomOp::record, &SeededOp::bernoulli, &SeededOp::poisson, &SeededOp::multinomial,
                            &RandpermOp::record, &DropoutOp::record})
    if (op == r) return true;
  return false;
}

namespace {

// In place, of fresh memory: a fill.
bool fills(const Step& s, const Operand& o) { return !s.out.empty() && s.out[0].same_place(o); }

/// Whether what a matched call did can be replayed: its facts, or why not.
struct Judge {
  const Observed& seen;
  const std::vector<const Tensor*>& arguments;
  const std::vector<Tensor>& results;
  bool pure;
  Facts& facts;

  std::string at(size_t k) const {
    return detail::format("step {}, {}{}",
                          {k, seen.entry->graph.steps[k].name(), call_text(seen.entry->graph.sites[k])});
  }
  // The first step that touches a buffer.
  size_t user(size_t buffer) const {
    const std::vector<Step>& steps = seen.entry->graph.steps;
    for (size_t k = 0; k < steps.size(); ++k)
      for (const auto* list : {&steps[k].in, &steps[k].out})
        for (const Operand& o : *list)
          if (o.buffer == static_cast<int>(buffer)) return k;
    return 0;
  }

  std::string refusal() {
    if (seen.touched) return "the host reads or fills memory in the call (item(), data_ptr(), printing, tensor({...}))";
    if (seen.stretches != 1) return seen.stretches ? "a call is cut in parts" : "no kernel of it waits";
    const Graph& g = seen.entry->graph;
    for (size_t k = 0; k < g.steps.size(); ++k)
      if (draws(g.steps[k].op)) return "random numbers are drawn: " + at(k);
    for (size_t i = 0; i < arguments.size(); ++i)
      if (std::string s = of_argument(i); !s.empty()) return s;
    for (size_t k = 0; k < g.steps.size(); ++k)
      for (const Operand& o : g.steps[k].in)
        if (o.in_memory() && o.value < 0 && !fills(g.steps[k], o))
          return "memory is read that no recorded op has written: " + at(k);
    facts.entry = seen.entry;
    facts.plan = seen.plan;
    facts.data = seen.data;
    facts.data_at = seen.data_at;
    for (size_t b = 0; b < seen.slots.size(); ++b)
      if (std::string s = of_buffer(b); !s.empty()) return s;
    for (size_t i = 0; i < results.size(); ++i)
      if (std::string s = of_result(i); !s.empty()) return detail::format("result {} ", {i}) + s;
    for (size_t b = 0; b < seen.slots.size(); ++b) {
      if (seen.slots[b].held || !seen.slots[b].alive) continue;
      if (std::none_of(facts.results.begin(), facts.results.end(), [&](const Facts::Result& r) {
            return r.kind == Facts::Result::Kind::made && r.view.buffer == static_cast<int>(b);
          }))
        return "a tensor that the call makes lives on (a gradient, an optimizer's state): " + at(user(b));
    }
    return {};
  }

  std::string of_argument(size_t i) const {
    if (!arguments[i]->defined()) return {};
    const TensorImpl* t = arguments[i]->impl();
    if (t->device.is_cuda()) return "arguments are on a device, whose kernels run at once";
    if (detail::thread_state.grad_mode && t->grad_fn) return detail::format("tensor argument {} has a history", {i});
    if (t->meta && (!t->meta->hooks.empty() || !t->meta->post_accumulate.empty()))
      return detail::format("tensor argument {} has hooks", {i});
    return {};
  }

  std::string of_buffer(size_t b) {
    using Kind = Facts::Source::Kind;
    Facts::Source source;
    facts.written.push_back(seen.slots[b].written);
    if (Storage* held = seen.slots[b].held) {
      source.kind = Kind::captured;
      for (size_t i = 0; i < arguments.size() && source.kind == Kind::captured; ++i)
        if (arguments[i]->defined() && arguments[i]->impl()->storage == held)
          source = {Kind::argument, static_cast<int>(i)};
      if (source.kind == Kind::captured) {
        source.captured = held;
        for (const Tensor* t : arguments)
          if (t->defined() && t->impl()->meta && t->impl()->meta->grad.defined() &&
              t->impl()->meta->grad.impl()->storage == held)
            return "the gradient of an argument is used: " + at(user(b));
        if (!pure) return "a tensor is read that is no argument (.pure declares such): " + at(user(b));
      }
    }
    facts.sources.push_back(source);
    return {};
  }

  std::string of_result(size_t i) {
    using Kind = Facts::Result::Kind;
    Facts::Result r;
    const Tensor& t = results[i];
    if (t.defined()) {
      const TensorImpl* p = t.impl();
      for (size_t a = 0; a < arguments.size() && r.kind == Kind::undefined; ++a)
        if (arguments[a]->is_same(t)) r = {.kind = Kind::argument, .at = static_cast<int>(a), .view = {}};
      for (size_t e = 0; e < i && r.kind == Kind::undefined; ++e)
        if (results[e].is_same(t)) r = {.kind = Kind::earlier, .at = static_cast<int>(e), .view = {}};
      if (r.kind == Kind::undefined) {
        const bool of_history = p->base && p->base->requires_grad;
        if (p->requires_grad || p->grad_fn || p->meta || of_history || p->view_kind == ViewKind::no_grad)
          return "has a history: call it under NoGrad, or detach() it";
        if (p->device.is_cuda()) return "is on a device, whose kernels run at once";
        const auto slot = std::find_if(seen.slots.begin(), seen.slots.end(), [&](const Observed::Slot& s) {
          return !s.held && s.alive && s.data == p->storage->data;
        });
        if (slot == seen.slots.end()) return "is not made by a recorded op (a view of an argument, a captured tensor)";
        r.kind = Kind::made;
        r.inference = p->inference;
        r.view.buffer = static_cast<int>(slot - seen.slots.begin());
        r.view.dtype = p->dtype;
        r.view.sizes = p->sizes;
        r.view.strides = p->strides;
        r.view.offset = p->offset;
        r.view.numel = p->numel;
        r.view.contiguous = p->contiguous;
      }
    }
    facts.results.push_back(r);
    return {};
  }
};

}  // namespace

std::string refusal(const Observed& seen, const std::vector<const Tensor*>& arguments,
                    const std::vector<Tensor>& results, bool pure, Facts& facts) {
  return Judge{seen, arguments, results, pure, facts}.refusal();
}

}  // namespace weft::graph
