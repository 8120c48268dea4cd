// The trace event format that Perfetto and chrome://tracing open.
#include <fmt/format.h>
#include <unistd.h>

#include <iterator>
#include <set>
#include <utility>

#include "profiler/text.h"

namespace weft::profiler {
namespace {

const char* category(EventKind kind) {
  constexpr const char* names[] = {"cpu_op", "cpu_view", "backward", "nn_module", "user_annotation", "kernel"};
  return names[static_cast<int>(kind)];
}

/// Microseconds, to the nanosecond.
std::string us(int64_t ns) { return fmt::format("{}.{:03}", ns / 1000, ns % 1000); }

std::string arguments(const Event& e, bool memory) {
  std::string out;
  auto add = [&](const char* key, const std::string& value) {
    out += fmt::format("{}\"{}\":{}", out.empty() ? "" : ",", key, value);
  };
  if (!e.module.empty()) add("Module", "\"" + text::json(e.module) + "\"");
  if (!e.inputs.empty()) {
    std::string types;
    for (const Input& in : e.inputs)
      types += fmt::format("{}\"{}\"", types.empty() ? "" : ",", in.defined ? weft::name(in.dtype) : "");
    add("Input Dims", text::shapes(e.inputs));
    add("Input type", "[" + types + "]");
  }
  if (memory) {
    add("Bytes", std::to_string(e.memory));
    add("Self bytes", std::to_string(e.self_memory));
  }
  if (!e.stack.empty()) {
    std::string frames;
    for (const std::string& f : e.stack) frames += (frames.empty() ? "" : "; ") + f;
    add("Call stack", "\"" + text::json(frames) + "\"");
  }
  return out;
}

}  // namespace

std::string Profiler::chrome_trace() const {
  std::string out = "{\"schemaVersion\":1,\"displayTimeUnit\":\"ms\",";
  auto to = std::back_inserter(out);
  const int pid = static_cast<int>(getpid());
  fmt::format_to(to, "\"dropped_events\":{},\"traceEvents\":[\n", dropped_);
  fmt::format_to(to, R"({{"ph":"M","name":"process_name","pid":{},"tid":0,"args":{{"name":"weft"}}}})", pid);
  for (size_t t = 0; t < thread_ids_.size(); ++t)
    fmt::format_to(to,
                   ",\n"
                   R"({{"ph":"M","name":"thread_name","pid":{},"tid":{},"args":{{"name":"thread {}"}}}})",
                   pid, thread_ids_[t], t);
  auto tid = [&](const Event& e) { return thread_ids_[static_cast<size_t>(e.thread)]; };
  for (size_t i = 0; i < events_.size(); ++i) {
    const Event& e = events_[i];
    fmt::format_to(to,
                   ",\n"
                   R"({{"ph":"X","cat":"{}","name":"{}","pid":{},"tid":{},"ts":{},"dur":{},"args":{{{}}}}})",
                   category(e.kind), text::json(e.name), pid, tid(e), us(e.start_ns), us(e.duration_ns),
                   arguments(e, options_.profile_memory));
    if (options_.profile_memory && e.self_memory != 0)
      fmt::format_to(to,
                     ",\n"
                     R"({{"ph":"C","name":"tensor memory","pid":{},"ts":{},"args":{{"bytes":{}}}}})",
                     pid, us(e.start_ns + e.duration_ns), e.live);
    if (e.forward < 0) continue;
    // An arrow from the op to its backward.
    const Event& f = events_[static_cast<size_t>(e.forward)];
    for (const Event* end : {&f, &e})
      fmt::format_to(to,
                     ",\n"
                     R"({{"ph":"{}","cat":"fwdbwd","name":"fwdbwd","id":{},"pid":{},"tid":{},"ts":{}{}}})",
                     end == &f ? "s" : "f", i, pid, tid(*end), us(end->start_ns), end == &f ? "" : R"(,"bp":"e")");
  }
  // A process for each device, a row for each stream, an arrow from the op that launched.
  std::set<std::pair<int, int>> streams;
  for (size_t i = 0; i < device_events_.size(); ++i) {
    const DeviceEvent& d = device_events_[i];
    if (streams.emplace(d.device, -1).second)
      fmt::format_to(to,
                     ",\n"
                     R"({{"ph":"M","name":"process_name","pid":{0},"tid":0,"args":{{"name":"cuda:{0}"}}}})",
                     d.device);
    if (streams.emplace(d.device, d.stream).second)
      fmt::format_to(to,
                     ",\n"
                     R"({{"ph":"M","name":"thread_name","pid":{},"tid":{},"args":{{"name":"stream {}"}}}})",
                     d.device, d.stream, d.stream);
    fmt::format_to(to,
                   ",\n"
                   R"({{"ph":"X","cat":"{}","name":"{}","pid":{},"tid":{},"ts":{},"dur":{},"args":{{)",
                   d.category, text::json(d.name), d.device, d.stream, us(d.start_ns), us(d.duration_ns));
    if (d.event < 0) {
      out += "}}";
      continue;
    }
    const Event& e = events_[static_cast<size_t>(d.event)];
    fmt::format_to(to, R"("op":"{}"}}}})", text::json(e.name));
    fmt::format_to(to,
                   ",\n"
                   R"({{"ph":"s","cat":"ac2g","name":"ac2g","id":{},"pid":{},"tid":{},"ts":{}}})",
                   i, pid, tid(e), us(e.start_ns));
    fmt::format_to(to,
                   ",\n"
                   R"({{"ph":"f","cat":"ac2g","name":"ac2g","id":{},"pid":{},"tid":{},"ts":{},"bp":"e"}})",
                   i, d.device, d.stream, us(d.start_ns));
  }
  return out + "\n]}\n";
}

}  // namespace weft::profiler
