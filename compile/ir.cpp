#include "compile/ir.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"
#include "core/written_inputs.h"

namespace weft::graph {
namespace {

int64_t last_byte(const Operand& o) {
  int64_t last = o.offset;
  for (int d = 0; d < o.sizes.size(); ++d) {
    if (o.sizes[d] == 0) return 0;
    last += (o.sizes[d] - 1) * o.strides[d];
  }
  return (last + 1) * static_cast<int64_t>(itemsize(o.dtype));
}

std::string shape(const Operand& o) { return detail::format("{}{}", {o.dtype, o.sizes}); }

std::string argument(const Operand& o) {
  return o.in_memory() ? fmt::format("%{}", o.value) : o.buffer == Operand::kNumber ? "number" : "none";
}

bool same_operands(const std::vector<Operand>& a, const std::vector<Operand>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i)
    if (!a[i].same_place(b[i])) return false;
  return true;
}

}  // namespace

std::string Step::name() const {
  if (!info || loops == &info->forward) return op->name;
  return fmt::format("{}_backward", info->name);
}

bool Step::same(const Step& o) const {
  return op == o.op && loops == o.loops && compute == o.compute && truth == o.truth && params == o.params &&
         attrs_bytes == o.attrs_bytes && rows == o.rows && written == o.written && same_operands(in, o.in) &&
         same_operands(out, o.out);
}

void Graph::add(Step s, const CallSite& site) {
  patterns.push_back({.op = s.op,
                      .loops = s.loops,
                      .attrs_bytes = s.attrs_bytes,
                      .words = words.size(),
                      .params = s.params,
                      .n_in = static_cast<int>(s.in.size()),
                      .n_out = static_cast<int>(s.out.size()),
                      .group = s.group,
                      .compute = s.compute,
                      .truth = s.truth,
                      .by_rows = s.rows.rows != 0,
                      .may_write = !s.pointwise() && may_write_inputs(*s.op),
                      .written = s.written});
  const auto operand = [&](const Operand& o) {
    words.push_back(Pattern::head(o.buffer, o.dtype, o.sizes.size()));
    if (!o.in_memory()) return;
    words.push_back(static_cast<uint64_t>(o.offset));
    words.insert(words.end(), o.sizes.begin(), o.sizes.end());
    words.insert(words.end(), o.strides.begin(), o.strides.end());
  };
  for (const Operand& o : s.in) operand(o);
  for (const Operand& o : s.out) operand(o);
  steps.push_back(std::move(s));
  sites.push_back(site);
}

void Graph::number() {
  std::vector<int> holds(buffers.size(), -1);
  values = 0;
  const auto read = [&](Operand& o) {
    if (!o.in_memory()) return;
    int& now = holds[static_cast<size_t>(o.buffer)];
    if (now < 0 && !buffers[static_cast<size_t>(o.buffer)].born) now = values++;
    o.value = now;
  };
  for (Step& s : steps) {
    for (Operand& o : s.in) read(o);
    for (Operand& o : s.out)
      if (o.in_memory()) o.value = holds[static_cast<size_t>(o.buffer)] = values++;
    for (size_t i = 0; i < s.in.size(); ++i)
      if (s.writes(i) && s.in[i].in_memory()) holds[static_cast<size_t>(s.in[i].buffer)] = values++;
  }
}

void Graph::verify() const {
  std::vector<int> writer(static_cast<size_t>(values), -1);
  for (size_t k = 0; k < steps.size(); ++k)
    for (const Operand& o : steps[k].out) {
      if (!o.in_memory()) continue;
      WEFT_ASSERT(o.value >= 0 && o.value < values, "graph: step {} writes value {} of {}", k, o.value, values);
      WEFT_ASSERT(writer[static_cast<size_t>(o.value)] < 0, "graph: steps {} and {} write value {}",
                  writer[static_cast<size_t>(o.value)], k, o.value);
      writer[static_cast<size_t>(o.value)] = static_cast<int>(k);
    }
  for (size_t k = 0; k < steps.size(); ++k) {
    const Step& s = steps[k];
    const auto inside = [&](const Operand& o) {
      WEFT_ASSERT(o.buffer < static_cast<int>(buffers.size()), "graph: step {} ({}) names buffer {} of {}", k, s.name(),
                  o.buffer, buffers.size());
      const Buffer& b = buffers[static_cast<size_t>(o.buffer)];
      WEFT_ASSERT(o.offset >= 0 && last_byte(o) <= static_cast<int64_t>(b.bytes),
                  "graph: step {} ({}) reaches beyond buffer {}", k, s.name(), o.buffer);
    };
    for (const Operand& o : s.in) {
      if (!o.in_memory()) continue;
      inside(o);
      // Memory nobody wrote yet (empty()) has no value.
      WEFT_ASSERT(o.value < values && (o.value < 0 || writer[static_cast<size_t>(o.value)] < static_cast<int>(k)),
                  "graph: step {} ({}) reads value {} before it is written", k, s.name(), o.value);
    }
    for (const Operand& o : s.out)
      if (o.in_memory()) inside(o);
    WEFT_ASSERT(!s.pointwise() || (s.out.size() == 1 && s.out[0].in_memory()), "graph: step {} ({}) has {} outputs", k,
                s.name(), s.out.size());
    const int before = k ? steps[k - 1].group : -1;
    WEFT_ASSERT(s.group == before + 1 || (k && s.group == before),
                "graph: step {} ({}) is of group {}, the one before of {}", k, s.name(), s.group, before);
  }
}

std::string Graph::str() const {
  std::string text;
  for (const Step& s : steps) {
    std::string results, arguments, shapes;
    for (const Operand& o : s.out) {
      results += fmt::format("{}{}", results.empty() ? "" : ", ", argument(o));
      shapes += " " + shape(o);
    }
    for (const Operand& o : s.in) arguments += fmt::format("{}{}", arguments.empty() ? "" : ", ", argument(o));
    text += fmt::format("{}{}{}({}){}  ; group {}\n", results, results.empty() ? "" : " = ", s.name(), arguments,
                        shapes, s.group);
  }
  return text;
}

std::string Graph::dot() const {
  std::string text = "digraph weft {\n  node [shape=box];\n";
  std::vector<int> maker(static_cast<size_t>(values), -1);
  int group = -1;
  for (size_t k = 0; k < steps.size(); ++k) {
    const Step& s = steps[k];
    if (s.group != group) {
      if (group >= 0) text += "  }\n";
      group = s.group;
      text += fmt::format("  subgraph cluster_{} {{\n", group);
      const bool by_rows = std::any_of(steps.begin() + static_cast<ptrdiff_t>(k), steps.end(), [&](const Step& o) {
        return o.group == group && o.rows.rows > 0 && k + 1 < steps.size() && steps[k + 1].group == group;
      });
      if (by_rows) text += "    label=\"by rows\";\n";
    }
    text += fmt::format("    s{} [label=\"{}\\n{}\"];\n", k, s.name(), s.out.empty() ? "" : shape(s.out[0]));
    for (const Operand& o : s.out)
      if (o.value >= 0) maker[static_cast<size_t>(o.value)] = static_cast<int>(k);
  }
  if (group >= 0) text += "  }\n";
  for (size_t k = 0; k < steps.size(); ++k)
    for (const Operand& o : steps[k].in)
      if (o.value >= 0 && maker[static_cast<size_t>(o.value)] >= 0)
        text += fmt::format("  s{} -> s{};\n", maker[static_cast<size_t>(o.value)], k);
  return text + "}\n";
}

}  // namespace weft::graph
