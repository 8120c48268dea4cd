// WEFT_CHECK_FUSED=1: whether fused kernels give what their ops give one by one.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string_view>
#include <utility>

#include "compile/execute.h"
#include "compile/layout.h"
#include "compile/recorder.h"
#include "compile/report.h"
#include "core/error.h"

namespace weft::graph {
namespace {

/// Contents of some buffers, which share memory where one takes the place of another.
class Contents {
 public:
  void keep(const char* at, size_t bytes) { all_[at] = std::max(all_[at], bytes); }
  void take() {
    kept_.clear();
    for (const auto& [at, bytes] : all_) kept_.emplace_back(at, at + bytes);
  }
  void put_back() const {
    size_t i = 0;
    for (const auto& [at, bytes] : all_) std::copy(kept_[i].begin(), kept_[i].end(), const_cast<char*>(at)), ++i;
  }
  const char* at(const char* where) const {
    size_t i = 0;
    for (const auto& [at, bytes] : all_) {
      if (at == where) return kept_[i].data();
      ++i;
    }
    return nullptr;
  }

 private:
  std::map<const char*, size_t> all_;
  std::vector<std::vector<char>> kept_;
};

// Number of the first element that differs; -1: none.
int64_t first_difference(const char* a, const char* b, size_t bytes, size_t width) {
  for (size_t i = 0; i < bytes / width; ++i)
    if (std::memcmp(a + i * width, b + i * width, width) != 0) return static_cast<int64_t>(i);
  return -1;
}

}  // namespace

bool checks_fused() {
  const char* text = std::getenv("WEFT_CHECK_FUSED");
  return text && std::string_view(text) == "1";
}

void Recorder::check_group(const Graph& g, const Plan& plan, const Plan::Run& run,
                           std::span<const std::vector<cpu::FusedSegment>> loops, const cpu::FusedCut& cut) {
  if (cache_.options.numerics == Numerics::fast) return run_group(g, plan, run, loops, cut);  // other bits are meant
  std::vector<int> steps;
  each_step(plan, run, [&](int k) { steps.push_back(k); });
  std::sort(steps.begin(), steps.end());
  Contents before, fused;
  std::vector<char> in_memory(slots_.size(), 0);
  touched(g, plan, run, [&](const Operand& o) {
    const auto b = static_cast<size_t>(o.buffer);
    in_memory[b] = 1;
    before.keep(slots_[b].data, slots_[b].bytes);
  });
  fused = before;
  before.take();
  run_group(g, plan, run, loops, cut);
  fused.take();
  before.put_back();

  std::vector<Block> blocks;  // of what the fused kernel does not put into memory
  std::vector<std::pair<size_t, void*>> moved;
  const auto each_result = [&](auto f) {
    for (int k : steps) g.steps[static_cast<size_t>(k)].each_written([&](const Operand& o) { f(k, o); });
  };
  each_result([&](int, const Operand& o) {
    const auto b = static_cast<size_t>(o.buffer);
    if (in_memory[b] || std::any_of(moved.begin(), moved.end(), [&](const auto& m) { return m.first == b; })) return;
    moved.push_back({b, storages_[b].data});
    storages_[b].data = blocks.emplace_back(std::max(slots_[b].bytes, size_t{1})).at();
  });
  for (int k : steps) run_step(static_cast<size_t>(k), g.steps[static_cast<size_t>(k)]);
  for (const auto& [b, data] : moved) storages_[b].data = data;

  std::string wrong;
  each_result([&](int k, const Operand& o) {
    const Slot& s = slots_[static_cast<size_t>(o.buffer)];
    if (!wrong.empty() || !in_memory[static_cast<size_t>(o.buffer)]) return;
    const int64_t i = first_difference(s.data, fused.at(s.data), s.bytes, itemsize(o.dtype));
    if (i >= 0) wrong = detail::format("element {} of {}", {i, g.steps[static_cast<size_t>(k)].name()});
  });
  if (wrong.empty()) return;
  wrong = detail::format(
      "{} other bits than its ops one by one: {}{}; the results of the ops are used, first difference: {}",
      {loops.empty() ? "a fused kernel gives" : "a fused kernel of generated code gives", run_text(g, plan, run),
       call_text(g.sites[static_cast<size_t>(run.first)]), wrong});
  std::lock_guard lock(cache_.mutex);
  if (add_text(cache_.wrong, wrong)) std::fprintf(stderr, "weft: compiled function: %s\n", wrong.c_str());
}

}  // namespace weft::graph
