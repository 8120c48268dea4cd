#include "compile/row_group.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <string_view>

#include "compile/plan.h"
#include "core/error.h"

namespace weft::graph {
namespace {

constexpr size_t kMostSteps = 48;           // of a group
constexpr int64_t kBlockBytes = 256 << 10;  // of all that a block touches: a part of the second cache
constexpr ptrdiff_t kAlignment = 64;
constexpr int64_t kLeastChunks = 15;

ptrdiff_t aligned(int64_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }
int64_t bytes_of(int64_t numel, DType t) { return numel * static_cast<int64_t>(itemsize(t)); }

// Elements that operand i of a structured step has by rows.
int64_t numel_of_call(const Step& s, size_t i, bool output) {
  const Operand& o = output ? s.out[i] : s.in[i];
  return o.in_memory() && ((output ? s.rows.out : s.rows.in) >> i & 1) ? o.numel : 0;
}

bool told(std::string_view what) {
  const char* text = std::getenv("WEFT_FUSE_ROWS");
  return text && text == what;
}

// Whether a group of rows around the structured step may pay: in a group memory is not used twice, which costs the
// others.
bool promising(const Step& s) {
  if (s.rows.rows < 2 || told("never")) return false;
  if (told("always") || told("try")) return true;
  if (s.rows.chunk && s.rows.rows <= kLeastChunks * s.rows.chunk) return false;  // too few for many threads
  int64_t largest = 0;
  for (const std::vector<Operand>* list : {&s.in, &s.out})
    for (const Operand& o : *list) largest = std::max(largest, bytes_of(o.numel, o.dtype));
  return cpu::rows_leave_caches(static_cast<size_t>(4 * largest));
}

}  // namespace

int64_t numel_by_rows(const Operand& o, const Operand& out, int64_t rows) {
  if (!o.in_memory() || !out.contiguous) return 0;
  if (o.contiguous && o.sizes == out.sizes) return o.numel;
  if (o.sizes.size() != out.sizes.size()) return 0;
  // One value a row: [rows..., 1...], or expanded from that.
  int64_t left = rows;
  int lead = 0;
  while (left > 1 && lead < out.sizes.size() && out.sizes[lead] > 0 && left % out.sizes[lead] == 0)
    left /= out.sizes[lead++];
  if (left != 1) return 0;
  int64_t step = 1;
  for (int d = o.sizes.size() - 1; d >= 0; --d) {
    if (d >= lead) {
      if (o.sizes[d] != 1 && o.strides[d] != 0) return 0;
    } else {
      if (o.sizes[d] != out.sizes[d] || (o.sizes[d] != 1 && o.strides[d] != step)) return 0;
      step *= o.sizes[d];
    }
  }
  return rows;
}

void RowGrouper::clear() {
  refs_.clear();
  rows_ = numel_ = chunk_ = 0;
  steps_ = 0;
  can_ = false;
}

// With `rows` 0, for a pointwise step: only the layout of the result counts.
void RowGrouper::refs_of(const Step& s, int64_t rows, std::vector<Ref>& refs) {
  refs.clear();
  const auto add = [&](const Operand& o, int64_t numel, bool written) {
    if (o.in_memory()) refs.push_back({o.buffer, o.dtype, o.offset, numel, written});
  };
  for (size_t i = 0; i < s.in.size(); ++i)
    add(s.in[i],
        !s.pointwise()                            ? numel_of_call(s, i, false)
        : rows || s.in[i].sizes == s.out[0].sizes ? numel_by_rows(s.in[i], s.out[0], rows)
                                                  : 0,
        false);
  for (size_t i = 0; i < s.out.size(); ++i)
    add(s.out[i], s.pointwise() ? s.out[i].numel : numel_of_call(s, i, true), true);
}

bool RowGrouper::free_of_conflicts(const std::vector<Ref>& refs) const {
  for (const Ref& now : refs)
    for (const Ref& then : refs_) {
      if (now.buffer != then.buffer || (!now.written && !then.written)) continue;
      if (now.numel == 0 || now.numel != then.numel || now.offset != then.offset || now.dtype != then.dtype)
        return false;
    }
  return true;
}

bool RowGrouper::joins(const Step& s) const {
  if (!can_ || steps_ >= kMostSteps) return false;
  int64_t rows = rows_;
  if (!s.pointwise()) {
    if (!promising(s) || (rows_ && rows_ != s.rows.rows)) return false;
    if (chunk_ && s.rows.chunk && chunk_ != s.rows.chunk) return false;
    rows = s.rows.rows;
    if (!rows_ && numel_ % rows != 0) return false;
  } else if (!rows_ || !fusable(s) || !s.out[0].contiguous || s.out[0].numel % rows_ != 0) {
    return false;
  }
  refs_of(s, rows, now_);
  // Of its own operands too: what it writes it reads at the same place, if at all.
  for (const Ref& out : now_)
    for (const Ref& in : now_)
      if (out.written && !in.written && out.buffer == in.buffer &&
          (in.numel != out.numel || in.offset != out.offset || in.dtype != out.dtype))
        return false;
  return free_of_conflicts(now_);
}

void RowGrouper::add(const Step& s) {
  if (steps_ == 0) can_ = s.pointwise() ? fusable(s) && s.out[0].contiguous && s.out[0].numel > 0 : promising(s);
  ++steps_;
  if (!can_) return;
  if (!s.pointwise()) {
    rows_ = s.rows.rows;
    chunk_ = std::max(chunk_, s.rows.chunk);
  } else if (!rows_) {
    numel_ = s.out[0].numel;
  }
  refs_of(s, rows_, now_);
  refs_.insert(refs_.end(), now_.begin(), now_.end());
}

void lay_out_rows(const Graph& g, const std::vector<int>& steps, const std::vector<int>& last_use, int end, Plan& plan,
                  size_t places_at, cpu::RowGroup& group) {
  struct Use {
    int64_t bytes = 0;  // of a row; 0: not by rows, or in tiles only
    int first_part = -1, last_part = 0;
    int writes = 0;
    bool fresh = false;  // written before it is read
    bool kept = false;   // in memory
    size_t whole = 0;    // bytes of all
    ptrdiff_t scratch = -1;
  };
  std::vector<Use> uses(g.buffers.size());
  std::vector<int> order;
  const auto place = [&](size_t i) -> cpu::FusedPlace& { return plan.places[places_at + i]; };
  const auto source = [&](size_t i) -> const Plan::Source& { return plan.sources[places_at + i]; };
  const auto each_place = [&](const cpu::RowPart& part, auto f) {
    for (auto i = static_cast<size_t>(part.places_at); i < static_cast<size_t>(part.places_at + part.places); ++i) {
      const Operand& o = source(i).in(g);
      if (place(i).kind != cpu::FusedPlace::Kind::tile && o.in_memory()) f(i, o, uses[static_cast<size_t>(o.buffer)]);
    }
  };
  for (size_t p = 0; p < group.parts.size(); ++p)
    each_place(group.parts[p], [&](size_t i, const Operand& o, Use& use) {
      const Plan::Source& from = source(i);
      const Step& s = g.steps[static_cast<size_t>(from.step)];
      const bool output = from.input < 0;
      const int64_t numel = s.pointwise()
                                ? (output ? o.numel : numel_by_rows(o, s.out[0], group.rows))
                                : numel_of_call(s, static_cast<size_t>(output ? -1 - from.input : from.input), output);
      place(i).width = numel / group.rows;
      if (use.first_part < 0) {
        use.first_part = static_cast<int>(p);
        use.fresh = output;
        order.push_back(o.buffer);
      }
      use.last_part = static_cast<int>(p);
      use.bytes = std::max(use.bytes, bytes_of(place(i).width, o.dtype));
      use.whole = std::max(use.whole, static_cast<size_t>(bytes_of(numel ? numel : o.numel, o.dtype)));
    });
  for (int k : steps)
    for (const Operand& o : g.steps[static_cast<size_t>(k)].out)
      if (o.in_memory()) ++uses[static_cast<size_t>(o.buffer)].writes;

  int64_t row = 0;
  for (int b : order) row += uses[static_cast<size_t>(b)].bytes;
  group.block = std::clamp<int64_t>(kBlockBytes / std::max<int64_t>(row, 1), 1, std::max<int64_t>(1, group.rows / 4));
  if (group.chunk) {  // blocks that are alike
    const int64_t blocks = (group.chunk + group.block - 1) / group.block;
    group.block = (group.chunk + blocks - 1) / blocks;
  }

  std::vector<int> placed;  // by offset
  for (int b : order) {
    Use& use = uses[static_cast<size_t>(b)];
    const bool leaves = last_use[static_cast<size_t>(b)] >= end;
    use.kept = leaves || !use.fresh || use.bytes == 0;
    if (use.kept) group.bytes += use.whole;
    if (!use.fresh || use.bytes == 0 || (leaves && use.writes > 1)) continue;
    const ptrdiff_t size = aligned(use.bytes * group.block);
    ptrdiff_t at = 0;
    for (int other : placed) {
      const Use& o = uses[static_cast<size_t>(other)];
      if (o.last_part < use.first_part || use.last_part < o.first_part) continue;
      if (at + size <= o.scratch) break;
      at = std::max(at, o.scratch + aligned(o.bytes * group.block));
    }
    use.scratch = at;
    group.scratch = std::max(group.scratch, static_cast<size_t>(at + size));
    placed.insert(std::upper_bound(placed.begin(), placed.end(), at,
                                   [&](ptrdiff_t x, int y) { return x < uses[static_cast<size_t>(y)].scratch; }),
                  b);
  }
  for (cpu::RowPart& part : group.parts)
    each_place(part, [&](size_t i, const Operand&, Use& use) {
      place(i).scratch = use.scratch;
      place(i).kept = use.kept;
      WEFT_ASSERT(use.scratch < 0 || place(i).width > 0, "a group of rows keeps what is not by rows in its own memory");
      if (use.scratch >= 0 && use.kept && source(i).input < 0) part.made.push_back(static_cast<int>(i));
    });
}

namespace {

// One pass of arithmetic.
bool light(const Step& s) {
  constexpr std::string_view kLight[] = {"add", "sub", "mul", "div", "neg"};
  return std::find(std::begin(kLight), std::end(kLight), s.info->name) != std::end(kLight);
}

}  // namespace

// Measured (32 MiB cache, two cores): what stays in caches anyway gains nothing, nor do softmax and its kin after steps
// that read two large tensors, after a tanh or after two steps: they compute while memory brings the rows of one pass,
// but not those of a block. A sum of products of larger tensors takes 0.55 of its time, softmax and cross entropy with
// one step before or after them 0.75 to 0.98, the gradients of a norm and its parameters with a step after them 0.75 to
// 0.95; with a gelu before them 1.1.
bool rows_pay(const Graph& g, const std::vector<int>& steps, const std::vector<int>& last_use, int end) {
  if (told("always")) return true;
  struct Touched {
    int64_t bytes = 0;
    bool made = false, by_call = false;  // written before it is read; a structured op touches it
    bool early = false;                  // a pointwise step touches it before a slow one
  };
  std::map<int, Touched> touched;
  const auto slow =
      std::find_if(steps.begin(), steps.end(), [&](int k) { return g.steps[static_cast<size_t>(k)].rows.slow; });
  for (int k : steps) {
    const Step& s = g.steps[static_cast<size_t>(k)];
    for (const std::vector<Operand>* list : {&s.in, &s.out})
      for (const Operand& o : *list) {
        if (!o.in_memory()) continue;
        const auto [at, first] = touched.try_emplace(o.buffer);
        Touched& t = at->second;
        if (first) t.made = list == &s.out;
        t.bytes = std::max(t.bytes, bytes_of(o.numel, o.dtype));
        t.by_call |= !s.pointwise();
        t.early |= s.pointwise() && slow != steps.end() && k < *slow;
      }
  }
  // Results between a structured op and the others need not go through memory.
  int64_t all = 0, saved = 0, largest = 0;
  for (const auto& [buffer, t] : touched) largest = std::max(largest, t.bytes);
  if (slow != steps.end()) {
    const auto early =
        std::find_if(steps.begin(), slow, [&](int k) { return g.steps[static_cast<size_t>(k)].pointwise(); });
    if (early != slow && (slow - early > 1 || !light(g.steps[static_cast<size_t>(*early)]))) return false;
  }
  int read_early = 0;
  for (const auto& [buffer, t] : touched) {
    all += t.bytes;
    read_early += t.early && !t.made && 2 * t.bytes >= largest;
    if (t.made && t.by_call && last_use[static_cast<size_t>(buffer)] < end) saved += t.bytes;
  }
  return read_early < 2 && saved * 8 >= all && cpu::rows_leave_caches(static_cast<size_t>(all));
}

}  // namespace weft::graph
