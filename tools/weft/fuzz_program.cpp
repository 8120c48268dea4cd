#include <algorithm>
#include <cmath>
#include <random>
#include <set>

#include "autograd/autograd.h"
#include "compile/compile.h"
#include "core/error.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/random.h"
#include "core/ops/reduce.h"
#include "core/thread_state.h"
#include "tools/weft/device.h"
#include "tools/weft/fuzz.h"
#include "tools/weft/same_bits.h"

namespace weft::fuzz {
namespace {

double normal_value(std::mt19937_64& rng) {
  const double u = (static_cast<double>(rng() >> 11) + 1) * 0x1p-53, v = static_cast<double>(rng() >> 11) * 0x1p-53;
  return std::sqrt(-2 * std::log(u)) * std::cos(6.283185307179586 * v);
}

// Few of the values are those where branches of kernels meet.
double floating_value(std::mt19937_64& rng, bool unit) {
  if (unit) return 0.02 + 0.96 * static_cast<double>(rng() >> 11) * 0x1p-53;
  constexpr double special[] = {0, -0.0, 1, -1, 0.5, 30, -30, INFINITY, -INFINITY, NAN, 1e30, 1e-40};
  const uint64_t kind = rng() % 400;
  return kind < std::size(special) ? special[kind] : normal_value(rng);
}

constexpr size_t kPeriod = 1021;  // values come again; making them would take longer than all else

Tensor plain(const Input& in, const Dims& sizes, std::mt19937_64& rng) {
  int64_t n = 1;
  for (int64_t s : sizes) n *= s;
  if (is_floating(in.dtype)) {
    std::vector<double> v(static_cast<size_t>(n));
    for (size_t i = 0; i < v.size(); ++i) v[i] = i < kPeriod ? floating_value(rng, in.unit) : v[i - kPeriod];
    return tensor(v, {.dtype = in.dtype}).reshape(sizes).to(device());
  }
  std::vector<int64_t> v(static_cast<size_t>(n));
  for (size_t i = 0; i < v.size(); ++i)
    v[i] =
        i < kPeriod ? in.low + static_cast<int64_t>(rng() % static_cast<uint64_t>(in.high - in.low)) : v[i - kPeriod];
  return tensor(v, {.dtype = in.dtype}).reshape(sizes).to(device());
}

struct Outcome {
  std::vector<Value> values;
  std::vector<Tensor> inputs;
  std::string error;
  bool internal = false;
};

template <class F>
Outcome outcome(const Program& p, int variation, F&& function) {
  Outcome o;
  o.inputs = make_inputs(p, variation);
  manual_seed(p.seed);
  try {
    o.values = function(o.inputs, variation);
    tools::finish(device());
  } catch (const InternalError& e) {
    o.error = e.what();
    o.internal = true;
  } catch (const std::exception& e) {
    o.error = e.what();
  }
  return o;
}

bool same_number(const Value& a, const Value& b) {
  return a == b || (a.is_double() && b.is_double() && std::isnan(a.as_double()) && std::isnan(b.as_double()));
}

std::string differ(const Outcome& got, const Outcome& eager) {
  if (eager.internal) return "eager: " + eager.error;
  if (got.error != eager.error) return "error '" + got.error + "', eager '" + eager.error + "'";
  if (!eager.error.empty()) return {};
  for (size_t i = 0; i < eager.values.size(); ++i) {
    const Value &a = got.values[i], &b = eager.values[i];
    std::string s;
    if (a.is_tensor() && b.is_tensor())
      s = tools::differ(a.as_tensor(), b.as_tensor());
    else if (!same_number(a, b))
      s = a.str(60) + ", eager " + b.str(60);
    if (!s.empty()) return detail::format("result {}: ", {i}) + s;
  }
  for (size_t i = 0; i < eager.inputs.size(); ++i)
    if (std::string s = tools::differ(got.inputs[i], eager.inputs[i]); !s.empty())
      return detail::format("input {} after the run: ", {i}) + s;
  return {};
}

std::vector<int*> slots_of(Step& s) {
  std::vector<int*> out;
  for (Arg& a : s.args)
    for (int& slot : a.slots) out.push_back(&slot);
  return out;
}

// The steps that need nothing of the removed ones, and the inputs that something needs.
Program without(const Program& p, const std::set<size_t>& removed) {
  Program q = p;
  q.steps.clear();
  std::set<int> gone, used;
  for (size_t i = 0; i < p.steps.size(); ++i) {
    Step s = p.steps[i];
    bool keep = !removed.count(i);
    for (const int* slot : slots_of(s)) keep = keep && !gone.count(*slot);
    if (!keep) {
      gone.insert(s.outs.begin(), s.outs.end());
      continue;
    }
    for (const int* slot : slots_of(s)) used.insert(*slot);
    q.steps.push_back(std::move(s));
  }
  std::erase_if(q.results, [&](int slot) { return gone.count(slot) != 0; });
  used.insert(q.results.begin(), q.results.end());
  for (const Input& in : q.inputs)
    if (in.view_of >= 0) used.insert(in.slot), used.insert(q.inputs[static_cast<size_t>(in.view_of)].slot);
  std::vector<Input> inputs;
  std::vector<int> number(q.inputs.size());
  for (size_t i = 0; i < q.inputs.size(); ++i) {
    Input in = q.inputs[i];
    if (!used.count(in.slot)) continue;
    if (in.view_of >= 0) in.view_of = number[static_cast<size_t>(in.view_of)];
    number[i] = static_cast<int>(inputs.size());
    inputs.push_back(in);
  }
  q.inputs = std::move(inputs);
  return q;
}

// The step's result replaced by one of its arguments.
Program bypassed(const Program& p, size_t at, int from, int to) {
  Program q = p;
  for (size_t i = at + 1; i < q.steps.size(); ++i)
    for (int* slot : slots_of(q.steps[i]))
      if (*slot == from) *slot = to;
  for (int& slot : q.results)
    if (slot == from) slot = to;
  return without(q, {at});
}

}  // namespace

Device& device() {
  static Device d;
  return d;
}

Tensor make_input(const Input& in, uint64_t seed, int variation, const std::vector<Tensor>& inputs) {
  NoGrad guard;
  if (in.view_of >= 0) {
    const Tensor& base = inputs[static_cast<size_t>(in.view_of)];
    return base.narrow(0, base.size(0) - in.sizes[0], in.sizes[0]);
  }
  std::mt19937_64 rng(seed * 1000003 + static_cast<uint64_t>(in.slot) * 2 + static_cast<uint64_t>(variation));
  Dims sizes = in.sizes;
  const int d = sizes.size();
  Tensor t;
  if (in.layout == Layout::transposed && d >= 2) {
    std::swap(sizes[d - 1], sizes[d - 2]);
    t = plain(in, sizes, rng).transpose(d - 1, d - 2);
  } else if (in.layout == Layout::strided && d >= 1) {
    sizes[d - 1] *= 2;
    t = plain(in, sizes, rng).slice(d - 1, 0, sizes[d - 1], 2);
  } else if (in.layout == Layout::shifted && d >= 1) {
    sizes[0] += 1;
    t = plain(in, sizes, rng).narrow(0, 1, in.sizes[0]);
  } else if (in.layout == Layout::expanded && d >= 1 && sizes[0] > 0) {
    sizes[0] = 1;
    t = plain(in, sizes, rng).expand(in.sizes);
  } else {
    t = plain(in, sizes, rng);
  }
  return in.requires_grad ? t.set_requires_grad(true) : t;
}

std::vector<Tensor> make_inputs(const Program& p, int variation) {
  std::vector<Tensor> out;
  for (const Input& in : p.inputs) out.push_back(make_input(in, p.seed, variation, out));
  return out;
}

Value run_step(const Step& step, const std::vector<Value>& slots, int variation) {
  std::vector<Value> args;
  std::vector<NamedValue> kwargs;
  for (const Arg& a : step.args) {
    Value v;
    if (a.kind == Arg::Kind::literal) {
      v = a.values[variation];
    } else if (a.kind == Arg::Kind::slot) {
      v = slots[static_cast<size_t>(a.slots[0])];
    } else {
      Value::List list;
      for (int s : a.slots) list.push_back(slots[static_cast<size_t>(s)]);
      v = Value::list(std::move(list));
    }
    if (a.name.empty())
      args.push_back(std::move(v));
    else
      kwargs.push_back({a.name, std::move(v)});
  }
  return call(step.op, std::move(args), std::move(kwargs));
}

void keep_result(const Step& step, const Value& result, std::vector<Value>& slots) {
  for (size_t k = 0; k < step.outs.size(); ++k) {
    Value& to = slots[static_cast<size_t>(step.outs[k])];
    if (!result.is_list())
      to = result;
    else if (k < result.size())
      to = result.as_list()[k];
  }
}

std::vector<Value> run(const Program& p, const std::vector<Tensor>& inputs, int variation) {
  std::vector<size_t> last(static_cast<size_t>(p.slots), 0);
  for (size_t i = 0; i < p.steps.size(); ++i) {
    for (int slot : p.steps[i].outs) last[static_cast<size_t>(slot)] = i;
    for (const Arg& a : p.steps[i].args)
      for (int slot : a.slots) last[static_cast<size_t>(slot)] = i;
  }
  for (int slot : p.results) last[static_cast<size_t>(slot)] = p.steps.size();
  std::vector<std::vector<int>> released(p.steps.size() + 1);
  for (int slot = 0; slot < p.slots; ++slot) released[last[static_cast<size_t>(slot)]].push_back(slot);

  std::vector<Value> slots(static_cast<size_t>(p.slots));
  for (size_t i = 0; i < inputs.size(); ++i) slots[static_cast<size_t>(p.inputs[i].slot)] = inputs[i];
  for (size_t i = 0; i < p.steps.size(); ++i) {
    keep_result(p.steps[i], run_step(p.steps[i], slots, variation), slots);
    for (int slot : released[i]) slots[static_cast<size_t>(slot)] = Value();
  }
  std::vector<Value> out;
  for (int slot : p.results) out.push_back(slots[static_cast<size_t>(slot)]);
  slots.clear();
  if (!p.backward) return out;
  Tensor loss;
  for (const Value& v : out)
    if (v.is_tensor() && v.as_tensor().requires_grad()) {
      const Tensor s = v.as_tensor().sum();
      loss = loss.defined() ? loss.add(s) : s;
    }
  if (!loss.defined()) return out;
  std::vector<Tensor> leaves;
  for (const Tensor& t : inputs)
    if (t.requires_grad() && t.is_leaf()) leaves.push_back(t);
  for (const Tensor& g : grad({loss}, leaves, {.allow_unused = true})) out.push_back(g.defined() ? Value(g) : Value());
  return out;
}

namespace {

// Calls of which the last ones are replayed directly where the program allows it: as those before, and with other
// values in the inputs.
void check_direct(const Program& p, Verdict& v) {
  auto body = [&p](const std::vector<Tensor>& inputs, int variation) {
    std::vector<Tensor> out;
    for (const Value& x : run(p, inputs, variation)) out.push_back(x.is_tensor() ? x.as_tensor().detach() : Tensor());
    return out;
  };
  auto fast = compile(body, {.mode = CompileMode::reduce_overhead, .on_fallback = OnFallback::silent, .pure = true});
  const auto values = [](std::vector<Tensor> list) {
    std::vector<Value> out;
    for (Tensor& t : list) out.push_back(t.defined() ? Value(std::move(t)) : Value());
    return out;
  };
  const auto eagerly = [&](const std::vector<Tensor>& in, int) { return values(body(in, 0)); };
  const auto directly = [&](const std::vector<Tensor>& in, int) { return values(fast(in, 0)); };
  const Outcome eager[2] = {outcome(p, 0, eagerly), outcome(p, 1, eagerly)};
  constexpr int inputs[] = {0, 1, 0, 1, 0, 1, 0};
  for (int k = 0; k < 7 && v.difference.empty(); ++k) {
    v.difference = differ(outcome(p, inputs[k], directly), eager[inputs[k]]);
    if (!v.difference.empty()) v.difference = detail::format("to be replayed, call {}: ", {k}) + v.difference;
    if (!eager[inputs[k]].error.empty()) break;
  }
  v.direct = fast.stats().direct > 0;
}

}  // namespace

Verdict check(const Program& p) {
  Verdict v;
  auto body = [&p](const std::vector<Tensor>& inputs, int variation) { return run(p, inputs, variation); };
  const Outcome eager[2] = {outcome(p, 0, body), outcome(p, 1, body)};
  auto fast = compile(body, {.on_fallback = OnFallback::silent});
  constexpr int variations[] = {0, 0, 1, 1, 1, 1, 0, 0};  // what numbers make is kept when they come again
  const int calls = p.seed % 4 == 1 ? 8 : 3;
  for (int k = 0; k < calls && v.difference.empty(); ++k) {
    const Outcome& want = eager[variations[k]];
    const Outcome got = outcome(p, variations[k], fast);
    v.difference = differ(got, want);
    if (!v.difference.empty()) v.difference = detail::format("compiled, call {}: ", {k}) + v.difference;
    if (k == 1) v.matched = fast.stats().matched > 0;
    v.raised |= !want.error.empty();
  }
  const CompileStats stats = fast.stats();
  v.cut = !stats.breaks.empty() || !stats.explained.empty();
  constexpr uint64_t kDirect = 3;  // of so many programs one; they take seven calls more
  if (v.difference.empty() && p.seed % kDirect == 0 && device().is_cpu()) check_direct(p, v);
  return v;
}

Program shrink(Program p) {
  const bool raised = check(p).raised;
  const auto better = [&](const Program& q) {
    const Verdict v = check(q);
    if (v.difference.empty() || v.raised != raised) return false;
    p = q;
    return true;
  };
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t i = p.steps.size(); i-- > 0;) {
      if (i >= p.steps.size()) continue;
      if (better(without(p, {i}))) {
        changed = true;
        continue;
      }
      if (p.steps[i].outs.size() != 1) continue;
      const int from = p.steps[i].outs[0];
      for (const int* to : slots_of(p.steps[i]))
        if (better(bypassed(p, i, from, *to))) {
          changed = true;
          break;
        }
    }
    for (size_t i = p.results.size(); i-- > 0;) {
      Program q = p;
      q.results.erase(q.results.begin() + static_cast<ptrdiff_t>(i));
      changed |= better(without(q, {}));
    }
    if (p.backward) {
      Program q = p;
      q.backward = false;
      changed |= better(q);
    }
    for (size_t i = 0; i < p.inputs.size(); ++i) {
      Program q = p;
      if (p.inputs[i].layout != Layout::plain) {
        q.inputs[i].layout = Layout::plain;
        changed |= better(q);
        q = p;
      }
      if (!p.inputs[i].requires_grad) continue;
      q.inputs[i].requires_grad = false;
      changed |= better(q);
    }
  }
  return p;
}

std::string text(const Program& p) {
  std::string out;
  for (size_t i = 0; i < p.inputs.size(); ++i) {
    const Input& in = p.inputs[i];
    constexpr const char* layouts[] = {"", ", transposed", ", strided", ", at an offset", ", expanded"};
    out += detail::format("  s{} = input {}: {} {}", {in.slot, i, in.dtype, in.sizes});
    out += layouts[static_cast<int>(in.layout)];
    if (in.unit) out += ", in (0, 1)";
    if (!is_floating(in.dtype) && in.dtype != DType::bool_) out += detail::format(", in [{}, {})", {in.low, in.high});
    if (in.requires_grad) out += ", requires_grad";
    if (in.view_of >= 0) out += detail::format(", the end of input {}", {in.view_of});
    out += "\n";
  }
  const auto list = [](const std::vector<int>& slots) {
    std::string s;
    for (int slot : slots) s += (s.empty() ? "s" : ", s") + std::to_string(slot);
    return s;
  };
  for (const Step& s : p.steps) {
    out += "  " + (s.outs.empty() ? std::string() : list(s.outs) + " = ") + s.op + "(";
    for (size_t k = 0; k < s.args.size(); ++k) {
      const Arg& a = s.args[k];
      out += (k ? ", " : "") + (a.name.empty() ? "" : a.name + "=");
      if (a.kind == Arg::Kind::slot) out += list(a.slots);
      if (a.kind == Arg::Kind::slots) out += "[" + list(a.slots) + "]";
      if (a.kind != Arg::Kind::literal) continue;
      out += a.values[0].str(80);
      if (!(a.values[0] == a.values[1])) out += ", then " + a.values[1].str(80);
    }
    out += ")\n";
  }
  out += "  results " + list(p.results) + (p.backward ? ", backward\n" : "\n");
  return out;
}

}  // namespace weft::fuzz
