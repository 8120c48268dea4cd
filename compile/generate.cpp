#include "compile/generate.h"

#include <algorithm>
#include <map>
#include <set>
#include <unordered_map>

#include "compile/record_text.h"

namespace weft::graph {
namespace {

using Kind = cpu::FusedPlace::Kind;
using Weight = RecordText::Weight;

constexpr int kMostHeavy = 1;  // steps of a loop; with more, values leave the registers

const char* type_name(DType t) {
  switch (t) {
    case DType::f32:
      return "float";
    case DType::f64:
      return "double";
    case DType::bf16:
      return "BFloat16";
    case DType::f16:
      return "Half";
    case DType::i8:
      return "int8_t";
    case DType::u8:
      return "uint8_t";
    case DType::i16:
      return "int16_t";
    case DType::i32:
      return "int32_t";
    case DType::i64:
      return "int64_t";
    case DType::bool_:
      return "bool";
  }
  return "";
}
bool is_half(DType t) { return t == DType::bf16 || t == DType::f16; }
// In memory bool is a byte that need not be 0 or 1; and loops that copy structs do not vectorise.
std::string memory_type(DType t) { return t == DType::bool_ ? "uint8_t" : is_half(t) ? "uint16_t" : type_name(t); }
std::string loaded(DType t, const std::string& from) {
  return t == DType::bool_ ? from + " != 0" : is_half(t) ? type_name(t) + ("{" + from + "}") : from;
}

// Floats to integers saturate: that is the converter's to say.
bool says(DType to, DType from) { return to == DType::bool_ || is_floating(to) || !is_floating(from); }
std::string converted(DType to, DType from, const std::string& value) {
  if (to == from) return value;
  const std::string wide = is_half(from) ? "to_float(" + value + ")" : value;
  if (to == DType::bool_) return "(" + wide + " != 0)";
  if (!is_half(to)) return is_half(from) && to == DType::f32 ? wide : type_name(to) + ("(" + wide + ")");
  const std::string single = is_half(from) || from == DType::f32 ? wide : "float(" + wide + ")";
  return (to == DType::bf16 ? "to_bf16(" : "to_f16(") + single + ")";
}

// -1: forward; which gradient.
int function_of(const Step& s) {
  if (s.loops == &s.info->forward) return -1;
  for (int i = 0; i < s.info->arity; ++i)
    if (s.loops == &s.info->backward[i]) return i;
  return -2;
}

class Generator {
 public:
  Generator(const Graph& g, const Plan& plan) : g_(g), plan_(plan) {
    for (const Plan::Run& run : plan.runs) {
      out_.group_of.push_back(run.fused ? static_cast<int>(out_.groups.size()) : -1);
      if (!run.fused) continue;
      ++out_.fused;
      const size_t first = out_.groups.size();
      if (run.rows < 0)
        add({run.steps_at, run.steps, run.places_at, run.places});
      else
        for (const cpu::RowPart& p : plan.row_groups[static_cast<size_t>(run.rows)].parts)
          if (p.call < 0) add({run.steps_at + p.steps_at, p.steps, run.places_at + p.places_at, p.places});
      out_.with_code += std::any_of(out_.groups.begin() + static_cast<ptrdiff_t>(first), out_.groups.end(),
                                    [](const auto& segments) { return !segments.empty(); });
    }
    finish();
  }
  Generated take() { return std::move(out_); }

 private:
  // Steps that go tile by tile together, and their places: in the plan's lists.
  struct Group {
    int steps_at, steps, places_at, places;
  };
  const cpu::FusedStep& step(const Group& group, int k) const {
    return plan_.fused_steps[static_cast<size_t>(group.steps_at + k)];
  }
  const Step& op(const Group& group, int k) const {
    return g_.steps[static_cast<size_t>(plan_.step_of[static_cast<size_t>(group.steps_at + k)])];
  }
  const cpu::FusedPlace& place(const Group& group, int p) const {
    return plan_.places[static_cast<size_t>(group.places_at + p)];
  }
  const Operand& operand(const Group& group, int p) const {
    return plan_.sources[static_cast<size_t>(group.places_at + p)].in(g_);
  }

  // `called` also where operands cannot be converted.
  Weight weight(const Group& group, int k) const {
    const Step& s = op(group, k);
    const RecordText* record = record_text(s.info);
    const int which = function_of(s);
    if (!record || which < -1) return Weight::called;
    const cpu::FusedStep& f = step(group, k);
    for (int i = 0; i < f.n_in; ++i)
      if (!f.truth && !says(f.compute, place(group, f.in[i]).dtype)) return Weight::called;
    return says(place(group, f.out).dtype, f.computed) ? record->weight(which) : Weight::called;
  }

  // A loop for one step gains where operands would be converted by loops of their own.
  bool pays(const Group& group, int first, int end) const {
    if (end - first > 1) return true;
    const cpu::FusedStep& f = step(group, first);
    bool converts = f.truth || place(group, f.out).dtype != f.computed;
    for (int i = 0; i < f.n_in; ++i)
      converts |= place(group, f.in[i]).dtype != f.compute && place(group, f.in[i]).kind != Kind::single;
    return converts;
  }

  void add(const Group& group) {
    std::vector<cpu::FusedSegment>& segments = out_.groups.emplace_back();
    std::vector<int>& functions = out_.functions.emplace_back();
    for (int first = 0; first < group.steps;) {
      int end = first, heavy = 0;
      for (; end < group.steps; ++end) {
        const Weight w = weight(group, end);
        if (w == Weight::called || (w == Weight::heavy && ++heavy > kMostHeavy)) break;
      }
      if (end > first && pays(group, first, end)) {
        auto [segment, body] = loop(group, first, end);
        if (const int f = function(body, group, first, end); f >= 0) {
          segments.push_back(std::move(segment));
          functions.push_back(f);
        }
      }
      first = std::max(end, first + 1);
    }
  }

  int function(const std::string& body, const Group& group, int first, int end) {
    const auto known = bodies_.find(body);
    if (known != bodies_.end()) return known->second;
    if (out_.function_count == kMostFunctions) return -1;
    out_.loops += "\n//";
    for (int k = first; k < end; ++k) {
      out_.loops += " " + op(group, k).name();
      records_.insert(record_text(op(group, k).info));
      transcendental_ |= weight(group, k) == Weight::heavy;
    }
    out_.loops += "\nWEFT_FUNCTION " + Generated::name(out_.function_count) +
                  "(char* const* at, const Number* p, int64_t n) {\n" + body + "}\n";
    bodies_.emplace(body, out_.function_count);
    return out_.function_count++;
  }

  // The steps [first, end) as the body of a function, and its operands.
  std::pair<cpu::FusedSegment, std::string> loop(const Group& group, int first, int end) const {
    cpu::FusedSegment segment{.first = first, .count = end - first, .reads = {}, .writes = {}, .params = {}};
    std::string head, lines;
    std::map<int, std::string> values;  // by place: what it holds now
    const auto value = [&](int p) -> const std::string& {
      p = canonical(group, segment.reads, p);
      std::string& name = values[p];
      if (!name.empty()) return name;
      const cpu::FusedPlace& from = place(group, p);
      const std::string at = std::to_string(segment.reads.size()), type = memory_type(from.dtype);
      name = (from.kind == Kind::single ? "s" : "a") + at;
      segment.reads.push_back(p);
      const std::string declared = std::string("const ") + type_name(from.dtype) + " " + name + " = ";
      if (from.kind == Kind::single) {
        head += "  " + declared + loaded(from.dtype, "*(const " + type + "*)at[" + at + "]") + ";\n";
      } else {
        head += "  const " + type + "* const x" + at + " = (const " + type + "*)at[" + at + "];\n";
        lines += "    " + declared + loaded(from.dtype, "x" + at + "[i]") + ";\n";
      }
      return name;
    };
    std::vector<int> written;
    for (int k = first; k < end; ++k) {
      const cpu::FusedStep& f = step(group, k);
      const Step& s = op(group, k);
      std::string arguments;
      for (int i = 0; i < f.n_in; ++i) {
        const DType from = place(group, f.in[i]).dtype;
        const std::string& x = value(f.in[i]);
        arguments += (i ? ", " : "") + (f.truth ? converted(f.compute, DType::bool_, converted(DType::bool_, from, x))
                                                : converted(f.compute, from, x));
      }
      for (int j = 0; j < s.params; ++j) {
        const std::string at = std::to_string(segment.params.size()), type = type_name(f.compute);
        head += "  const " + type + " p" + at + " = " + type + "(p[" + at + "]." +
                (is_floating(f.compute) ? "f64" : "i64") + ");\n";
        arguments += ", p" + at;
        segment.params.push_back({k, j});
      }
      const DType to = place(group, f.out).dtype;
      const std::string call = std::string(record_text(s.info)->name) +
                               "::" + std::string(function_name(*s.info, function_of(s))) + "<" + type_name(f.compute) +
                               ">(" + arguments + ")";
      std::string& out = values[f.out];
      out = "v" + std::to_string(k - first);
      lines += std::string("    const ") + type_name(to) + " " + out + " = " + converted(to, f.computed, call) + ";\n";
      if (std::find(written.begin(), written.end(), f.out) == written.end()) written.push_back(f.out);
    }
    for (int p : written) {
      if (place(group, p).kind == Kind::tile && !read_later(group, p, end)) continue;
      const std::string at = std::to_string(segment.writes.size()), type = memory_type(place(group, p).dtype);
      head += "  " + type + "* const y" + at + " = (" + type + "*)at[" +
              std::to_string(segment.reads.size() + segment.writes.size()) + "];\n";
      lines += "    y" + at + "[i] = " + values[p] + (is_half(place(group, p).dtype) ? ".bits" : "") + ";\n";
      segment.writes.push_back(p);
    }
    return {std::move(segment), head + "  WEFT_LOOP\n  for (int64_t i = 0; i < n; ++i) {\n" + lines + "  }\n"};
  }

  // Operands that lie across the group have a place for each use.
  int canonical(const Group& group, const std::vector<int>& reads, int p) const {
    const cpu::FusedPlace& x = place(group, p);
    if ((x.kind != Kind::strided && x.kind != Kind::single) || !operand(group, p).in_memory()) return p;
    for (int known : reads)
      if (place(group, known).kind == x.kind && operand(group, known).same_place(operand(group, p))) return known;
    return p;
  }

  bool read_later(const Group& group, int p, int from) const {
    for (int k = from; k < group.steps; ++k) {
      const cpu::FusedStep& f = step(group, k);
      if (std::find(f.in, f.in + f.n_in, p) != f.in + f.n_in) return true;
    }
    return false;
  }

  void finish() {
    if (out_.function_count == 0) return;
    std::set<std::string_view> texts;  // in an order of their own: equal plans have equal texts
    for (const RecordText* r : records_) texts.insert(r->text);
    out_.text = common_text(transcendental_) + "\nnamespace weft::ops {\n";
    for (std::string_view text : texts) out_.text.append("\n").append(text);
    out_.text +=
        "\nstruct Number {\n  double f64;\n  int64_t i64;\n};\n"
        "#define WEFT_FUNCTION extern \"C\" __attribute__((visibility(\"default\"))) void\n"
        "#if defined(__clang__)\n#define WEFT_LOOP _Pragma(\"clang loop vectorize(assume_safety)\")\n"
        "#else\n#define WEFT_LOOP _Pragma(\"GCC ivdep\")\n#endif\n" +
        out_.loops + "\n}  // namespace weft::ops\n";
  }

  const Graph& g_;
  const Plan& plan_;
  Generated out_;
  std::unordered_map<std::string, int> bodies_;
  std::set<const RecordText*> records_;
  bool transcendental_ = false;
};

}  // namespace

Generated generate(const Graph& g, const Plan& plan) { return Generator(g, plan).take(); }

}  // namespace weft::graph
