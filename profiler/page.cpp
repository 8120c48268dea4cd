#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <numeric>
#include <unordered_map>
#include <vector>

#include "profiler/page_text.h"
#include "profiler/text.h"

namespace weft::profiler {
namespace {

constexpr size_t kMostDrawn = 20'000;

/// Texts by number, so that the page holds each once.
class Texts {
 public:
  size_t operator()(const std::string& s) {
    const auto [at, added] = index_.try_emplace(s, index_.size());
    if (added) list_ += fmt::format("{}\"{}\"", list_.empty() ? "" : ",", text::json(s));
    return at->second;
  }
  const std::string& list() const { return list_; }

 private:
  std::unordered_map<std::string, size_t> index_;
  std::string list_;
};

/// A cell that sorts by `value`.
std::string cell(double value, const std::string& shown) {
  return fmt::format("<td data-v=\"{}\">{}</td>", value, shown);
}
std::string time_cell(int64_t ns) { return cell(static_cast<double>(ns), text::duration(static_cast<double>(ns))); }
std::string bytes_cell(int64_t n) { return cell(static_cast<double>(n), text::bytes(n)); }
std::string bar_cell(int64_t part, int64_t whole, std::string_view color) {
  return fmt::format("<td class=\"bar\" data-v=\"{}\"><i class=\"{}\" style=\"width:{:.2f}%\"></i></td>", part, color,
                     whole > 0 ? 100.0 * static_cast<double>(part) / static_cast<double>(whole) : 0);
}
std::string percent_cell(int64_t part, int64_t whole) {
  const double p = whole > 0 ? 100.0 * static_cast<double>(part) / static_cast<double>(whole) : 0;
  return cell(p, fmt::format("{:.2f}%", p));
}
std::string heads(const std::vector<const char*>& names) {
  std::string out = "<thead><tr>";
  for (const char* n : names) out += fmt::format("<th>{}</th>", n);
  return out + "</tr></thead>\n<tbody>\n";
}

std::string op_table(const KeyAverages& averages, int64_t total) {
  const std::vector<Average> rows = averages.sorted("self_cpu_time_total");
  const int64_t most = rows.empty() ? 0 : rows.front().self_cpu_time_total_ns;
  std::string out = "<section><h2>By name</h2>\n<table>";
  std::vector<const char*> columns = {"name", "self", "self %", "", "total", "mean", "calls"};
  if (averages.has_cuda) columns.insert(columns.end(), {"self on devices", "on devices"});
  if (averages.has_memory) columns.insert(columns.end(), {"memory", "self memory"});
  if (averages.has_memory && averages.has_cuda) columns.insert(columns.end(), {"device memory", "self device memory"});
  out += heads(columns);
  for (const Average& a : rows) {
    out += fmt::format("<tr><td>{}</td>", text::html(a.key)) + time_cell(a.self_cpu_time_total_ns) +
           percent_cell(a.self_cpu_time_total_ns, total) + bar_cell(a.self_cpu_time_total_ns, most, name(a.kind)) +
           time_cell(a.cpu_time_total_ns) + time_cell(a.cpu_time_total_ns / a.count) +
           cell(static_cast<double>(a.count), std::to_string(a.count));
    if (averages.has_cuda) out += time_cell(a.self_cuda_time_total_ns) + time_cell(a.cuda_time_total_ns);
    if (averages.has_memory) out += bytes_cell(a.cpu_memory_usage) + bytes_cell(a.self_cpu_memory_usage);
    if (averages.has_memory && averages.has_cuda)
      out += bytes_cell(a.cuda_memory_usage) + bytes_cell(a.self_cuda_memory_usage);
    out += "</tr>\n";
  }
  return out + "</tbody></table></section>\n";
}

std::string module_table(const std::vector<Event>& events, int64_t total) {
  struct Sums {
    int64_t forward = 0, backward = 0, calls = 0;
  };
  std::map<std::string, Sums> modules;
  // What a backward node calls counts to backward too.
  std::vector<bool> backward(events.size());
  for (size_t i = 0; i < events.size(); ++i) {
    const Event& e = events[i];
    backward[i] = e.kind == EventKind::backward || (e.parent >= 0 && backward[static_cast<size_t>(e.parent)]);
    if (e.module.empty()) continue;
    Sums& s = modules[e.module];
    (backward[i] ? s.backward : s.forward) += e.self_ns;
    s.calls += e.kind == EventKind::module;
  }
  if (modules.empty()) return {};
  std::vector<std::pair<std::string, Sums>> rows(modules.begin(), modules.end());
  auto sum = [](const Sums& s) { return s.forward + s.backward; };
  std::stable_sort(rows.begin(), rows.end(),
                   [&](const auto& a, const auto& b) { return sum(a.second) > sum(b.second); });
  std::string out = "<section><h2>By module</h2>\n<table>" + heads({"module (without the modules inside)", "self",
                                                                    "self %", "", "forward", "backward", "calls"});
  for (const auto& [path, s] : rows)
    out += fmt::format("<tr><td>{}</td>", text::html(path)) + time_cell(sum(s)) + percent_cell(sum(s), total) +
           bar_cell(sum(s), sum(rows.front().second), "module") + time_cell(s.forward) + time_cell(s.backward) +
           cell(static_cast<double>(s.calls), std::to_string(s.calls)) + "</tr>\n";
  return out + "</tbody></table></section>\n";
}

std::string time_line(const std::vector<Event>& events, int threads) {
  // Rows of a thread lie below those of the threads before it.
  std::vector<int> rows(static_cast<size_t>(threads)), first(static_cast<size_t>(threads));
  for (const Event& e : events)
    rows[static_cast<size_t>(e.thread)] = std::max(rows[static_cast<size_t>(e.thread)], e.depth + 1);
  std::exclusive_scan(rows.begin(), rows.end(), first.begin(), 0, [](int sum, int n) { return sum + n + 1; });
  std::vector<const Event*> drawn;
  for (const Event& e : events) drawn.push_back(&e);
  std::string note = "Wheel: zoom. Drag: move. Double click: all.";
  if (drawn.size() > kMostDrawn) {
    std::nth_element(drawn.begin(), drawn.begin() + kMostDrawn, drawn.end(),
                     [](const Event* a, const Event* b) { return a->duration_ns > b->duration_ns; });
    note += fmt::format(" The {} longest of {} events are drawn.", kMostDrawn, drawn.size());
    drawn.resize(kMostDrawn);
  }
  Texts names, modules;
  std::string data, kinds;
  for (const Event* e : drawn)
    fmt::format_to(std::back_inserter(data), "{}[{:.2f},{:.2f},{},{},{},{}]", data.empty() ? "" : ",",
                   static_cast<double>(e->start_ns) / 1e3, static_cast<double>(e->duration_ns) / 1e3,
                   first[static_cast<size_t>(e->thread)] + e->depth,
                   names(e->kind == EventKind::module ? e->module : e->name), modules(e->module),
                   static_cast<int>(e->kind));
  std::string legend;
  for (EventKind k : {EventKind::op, EventKind::view, EventKind::backward, EventKind::module, EventKind::range}) {
    kinds += fmt::format("{}\"{}\"", kinds.empty() ? "" : ",", name(k));
    legend += fmt::format("<i class=\"{0}\"></i>{0}", name(k));
  }
  return fmt::format(
      "<section><h2>Time line</h2>\n<p class=\"note legend\">{}</p>\n<canvas id=\"time\"></canvas>\n<p "
      "id=\"reading\"></p>\n<p class=\"note\">{}</p>\n</section>\n<script>\nconst "
      "names=[{}],\nmodules=[{}],\nkinds=[{}],\n"
      "events=[{}];\naddEventListener('DOMContentLoaded', () => {{{}}});\n</script>\n",
      legend, note, names.list(), modules.list(), kinds, data, kPageScript);
}

}  // namespace

std::string Profiler::html(std::string_view title) const {
  const KeyAverages averages = key_averages();
  int64_t total = 0, ops = 0, end = 0, live = 0, steps = 0;
  for (const Event& e : events_) {
    total += e.self_ns;
    ops += e.kind == EventKind::op || e.kind == EventKind::view;
    end = std::max(end, e.start_ns + e.duration_ns);
    live = std::max(live, e.live);
    steps += e.name.starts_with("ProfilerStep#");
  }
  std::string page = fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
      "content=\"width=device-width\">\n<title>{0}</title>\n<style>{1}</style>\n<main>\n<header><h1>{0}</h1><p>{2} "
      "events{3}</p></header>\n<div class=\"cards\">\n",
      text::html(title), kPageStyle, events_.size(),
      dropped_ > 0 ? fmt::format("; {} more beyond max_events were dropped", dropped_) : "");
  auto card = [&](const std::string& value, const char* what) {
    page += fmt::format("<div><b>{}</b><span>{}</span></div>\n", value, what);
  };
  card(text::duration(static_cast<double>(end)), "recorded");
  if (steps > 0) card(text::duration(static_cast<double>(end) / static_cast<double>(steps)), "per step");
  if (steps > 0) card(std::to_string(steps), "steps");
  card(std::to_string(ops), "ops and views");
  card(std::to_string(threads()), "threads");
  if (averages.has_cuda) {
    int64_t on_devices = 0;
    for (const DeviceEvent& d : device_events_) on_devices += d.duration_ns;
    const std::string how = "of devices (" + averages.device_times + ")";
    card(text::duration(static_cast<double>(on_devices)), how.c_str());
  }
  if (averages.has_memory) card(text::bytes(live), "most tensor memory above the start");
  page += "</div>\n";
  if (!events_.empty()) page += time_line(events_, threads());
  return page + op_table(averages, total) + module_table(events_, total) + "</main>\n</html>\n";
}

}  // namespace weft::profiler
