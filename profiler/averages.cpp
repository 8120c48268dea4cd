#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <unordered_map>

#include "core/error.h"
#include "profiler/text.h"

namespace weft::profiler {
namespace {

std::string key_of(const Event& e) { return e.name.starts_with("ProfilerStep#") ? "ProfilerStep*" : e.name; }

std::string first_frames(const Event& e, int n) {
  std::string out;
  for (size_t i = 0; i < std::min(e.stack.size(), static_cast<size_t>(n)); ++i) out += (i ? "; " : "") + e.stack[i];
  return out;
}

/// The end is what tells shapes and functions apart least; names keep their beginning.
std::string shortened(const std::string& s, int width) {
  return static_cast<int>(s.size()) <= width ? s : s.substr(0, static_cast<size_t>(std::max(width - 3, 0))) + "...";
}

double percent(int64_t part, int64_t whole) {
  return whole > 0 ? 100.0 * static_cast<double>(part) / static_cast<double>(whole) : 0;
}

}  // namespace

KeyAverages Profiler::key_averages(const AveragesOptions& o) const {
  WEFT_CHECK(o.group_by_stack_n >= 0, "key_averages: group_by_stack_n is {}; it counts functions", o.group_by_stack_n);
  KeyAverages out;
  out.has_memory = options_.profile_memory;
  out.has_cuda = !device_times_.empty();
  out.device_times = device_times_;
  out.grouping = o;
  out.dropped = dropped_;
  std::unordered_map<std::string, size_t> index;
  std::vector<size_t> row_of(events_.size());
  for (size_t i = 0; i < events_.size(); ++i) {
    const Event& e = events_[i];
    Average a;
    a.key = key_of(e);
    a.kind = e.kind;
    if (o.group_by_input_shape) a.input_shapes = text::shapes(e.inputs);
    if (o.group_by_module) a.module = e.module;
    if (o.group_by_stack_n) a.stack = first_frames(e, o.group_by_stack_n);
    // 0 separates: no name holds it together with another row's.
    std::string key = a.key;
    for (const std::string* part : {&a.input_shapes, &a.module, &a.stack}) (key += '\0') += *part;
    const auto [at, added] = index.try_emplace(std::move(key), out.rows.size());
    if (added) out.rows.push_back(std::move(a));
    row_of[i] = at->second;
    Average& row = out.rows[at->second];
    ++row.count;
    row.self_cpu_time_total_ns += e.self_ns;
    row.self_cpu_memory_usage += e.self_memory;
    row.self_cuda_time_total_ns += e.self_cuda_ns;
    row.self_cuda_memory_usage += e.self_cuda_memory;
    bool nested = false;
    for (int64_t p = e.parent; p >= 0 && !nested; p = events_[static_cast<size_t>(p)].parent)
      nested = row_of[static_cast<size_t>(p)] == at->second;
    if (nested) continue;
    row.cpu_time_total_ns += e.duration_ns;
    row.cpu_memory_usage += e.memory;
    row.cuda_time_total_ns += e.cuda_ns;
    row.cuda_memory_usage += e.cuda_memory;
  }
  // Kernels are rows of their own, as in PyTorch, under the op that launched them in shapes, module and stack.
  for (const DeviceEvent& d : device_events_) {
    if (d.category == "gpu_op") continue;
    Average a;
    a.key = d.name;
    a.kind = EventKind::kernel;
    if (d.event >= 0) {
      const Event& e = events_[static_cast<size_t>(d.event)];
      if (o.group_by_input_shape) a.input_shapes = text::shapes(e.inputs);
      if (o.group_by_module) a.module = e.module;
      if (o.group_by_stack_n) a.stack = first_frames(e, o.group_by_stack_n);
    }
    std::string key = "\1" + a.key;  // not an op of that name
    for (const std::string* part : {&a.input_shapes, &a.module, &a.stack}) (key += '\0') += *part;
    const auto [at, added] = index.try_emplace(std::move(key), out.rows.size());
    if (added) out.rows.push_back(std::move(a));
    Average& row = out.rows[at->second];
    ++row.count;
    row.cuda_time_total_ns += d.duration_ns;
    row.self_cuda_time_total_ns += d.duration_ns;
  }
  return out;
}

std::vector<Average> KeyAverages::sorted(std::string_view sort_by) const {
  std::vector<Average> out = rows;
  if (sort_by.empty()) return out;
  struct Column {
    std::string_view name;
    double (*value)(const Average&);
  };
  constexpr Column columns[] = {
      {"self_cpu_time_total", [](const Average& a) { return static_cast<double>(a.self_cpu_time_total_ns); }},
      {"cpu_time_total", [](const Average& a) { return static_cast<double>(a.cpu_time_total_ns); }},
      {"cpu_time",
       [](const Average& a) { return static_cast<double>(a.cpu_time_total_ns) / static_cast<double>(a.count); }},
      {"count", [](const Average& a) { return static_cast<double>(a.count); }},
      {"cpu_memory_usage", [](const Average& a) { return static_cast<double>(a.cpu_memory_usage); }},
      {"self_cpu_memory_usage", [](const Average& a) { return static_cast<double>(a.self_cpu_memory_usage); }},
      {"self_cuda_time_total", [](const Average& a) { return static_cast<double>(a.self_cuda_time_total_ns); }},
      {"cuda_time_total", [](const Average& a) { return static_cast<double>(a.cuda_time_total_ns); }},
      {"cuda_time",
       [](const Average& a) { return static_cast<double>(a.cuda_time_total_ns) / static_cast<double>(a.count); }},
      {"cuda_memory_usage", [](const Average& a) { return static_cast<double>(a.cuda_memory_usage); }},
      {"self_cuda_memory_usage", [](const Average& a) { return static_cast<double>(a.self_cuda_memory_usage); }}};
  const auto* column =
      std::find_if(std::begin(columns), std::end(columns), [&](const Column& c) { return c.name == sort_by; });
  WEFT_CHECK(column != std::end(columns),
             "table: cannot sort by \"{}\"; self_cpu_time_total, cpu_time_total, cpu_time, count, cpu_memory_usage and "
             "self_cpu_memory_usage are there, and the same with cuda",
             sort_by);
  std::stable_sort(out.begin(), out.end(),
                   [&](const Average& a, const Average& b) { return column->value(a) > column->value(b); });
  return out;
}

std::string KeyAverages::table(const TableOptions& o) const {
  int64_t self_total = 0, cuda_total = 0;
  for (const Average& a : rows) {
    self_total += a.self_cpu_time_total_ns;
    if (a.kind != EventKind::kernel) cuda_total += a.self_cuda_time_total_ns;
  }
  const std::vector<Average> all = sorted(o.sort_by);
  const size_t shown = o.row_limit < 0 ? all.size() : std::min(all.size(), static_cast<size_t>(o.row_limit));

  // Columns as texts, the first left-aligned rightmost column excepted.
  std::vector<std::vector<std::string>> cells;
  std::vector<std::string> head = {"Name", "Self CPU %", "Self CPU", "CPU total %", "CPU total", "CPU time avg"};
  if (has_cuda) head.insert(head.end(), {"Self CUDA", "Self CUDA %", "CUDA total", "CUDA time avg"});
  if (has_memory) head.insert(head.end(), {"CPU Mem", "Self CPU Mem"});
  if (has_memory && has_cuda) head.insert(head.end(), {"CUDA Mem", "Self CUDA Mem"});
  head.push_back("# of Calls");
  if (grouping.group_by_input_shape) head.push_back("Input Shapes");
  if (grouping.group_by_module) head.push_back("Module");
  if (grouping.group_by_stack_n) head.push_back("Source Location");
  cells.push_back(head);
  for (size_t i = 0; i < shown; ++i) {
    const Average& a = all[i];
    std::vector<std::string> row = {
        shortened(a.key, o.max_name_column_width),
        fmt::format("{:.2f}%", percent(a.self_cpu_time_total_ns, self_total)),
        text::duration(static_cast<double>(a.self_cpu_time_total_ns)),
        fmt::format("{:.2f}%", percent(a.cpu_time_total_ns, self_total)),
        text::duration(static_cast<double>(a.cpu_time_total_ns)),
        text::duration(static_cast<double>(a.cpu_time_total_ns) / static_cast<double>(a.count))};
    if (has_cuda)
      row.insert(row.end(), {text::duration(static_cast<double>(a.self_cuda_time_total_ns)),
                             fmt::format("{:.2f}%", percent(a.self_cuda_time_total_ns, cuda_total)),
                             text::duration(static_cast<double>(a.cuda_time_total_ns)),
                             text::duration(static_cast<double>(a.cuda_time_total_ns) / static_cast<double>(a.count))});
    if (has_memory) row.insert(row.end(), {text::bytes(a.cpu_memory_usage), text::bytes(a.self_cpu_memory_usage)});
    if (has_memory && has_cuda)
      row.insert(row.end(), {text::bytes(a.cuda_memory_usage), text::bytes(a.self_cuda_memory_usage)});
    row.push_back(std::to_string(a.count));
    if (grouping.group_by_input_shape) row.push_back(shortened(a.input_shapes, o.max_shapes_column_width));
    if (grouping.group_by_module) row.push_back(a.module);
    if (grouping.group_by_stack_n) row.push_back(a.stack);
    cells.push_back(std::move(row));
  }
  std::vector<size_t> width(head.size());
  for (const auto& row : cells)
    for (size_t c = 0; c < row.size(); ++c) width[c] = std::max(width[c], row[c].size());
  std::string rule, out;
  for (size_t c = 0; c < width.size(); ++c) rule += (c ? "  " : "") + std::string(width[c], '-');
  rule += "\n";
  out += rule;
  for (size_t r = 0; r < cells.size(); ++r) {
    std::string line;
    for (size_t c = 0; c < width.size(); ++c)
      line += fmt::format(fmt::runtime(c ? "  {:>{}}" : "{:>{}}"), cells[r][c], width[c]);
    out += line + "\n";
    if (r == 0) out += rule;
  }
  out += rule;
  if (shown < all.size()) out += fmt::format("{} more rows\n", all.size() - shown);
  out += fmt::format("Self CPU time total: {}\n", text::duration(static_cast<double>(self_total)));
  if (has_cuda)
    out +=
        fmt::format("Self CUDA time total: {} ({})\n", text::duration(static_cast<double>(cuda_total)), device_times);
  if (dropped > 0) out += fmt::format("{} events beyond max_events were dropped\n", dropped);
  return out;
}

}  // namespace weft::profiler
