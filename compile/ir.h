#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "core/deferral.h"
#include "core/row_wise.h"

// What a compiled function records: the kernels that ran, in order. Memory is named by buffers (one per storage), and
// what a buffer holds between two writes is a value: each value is written once, so the list is flat SSA. Views are
// geometry of operands; in-place ops write a new value of the buffer they change. Numbers (parameters of pointwise ops,
// attributes, wrapped C++ numbers) are inputs of every call, never part of the recording.
namespace weft::graph {

/// A tensor argument of a kernel: which memory, seen how.
struct Operand {
  static constexpr int kUndefined = -1;  ///< an absent optional argument
  static constexpr int kNumber = -2;     ///< a C++ number: 0-dim, its value comes with each call

  int buffer = kUndefined;
  int value = -1;  ///< what is read, or what is written (Graph::number)
  DType dtype = DType::f32;
  Dims sizes, strides;
  int64_t offset = 0;  ///< in elements
  int64_t numel = 0;
  bool contiguous = true;

  bool in_memory() const { return buffer >= 0; }
  /// Whether it is all of a buffer of so many bytes.
  bool covers(size_t bytes) const {
    return offset == 0 && detail::is_dense(sizes, strides) && static_cast<size_t>(numel) * itemsize(dtype) == bytes;
  }
  bool same_place(const Operand& o) const {
    return buffer == o.buffer && dtype == o.dtype && offset == o.offset && sizes == o.sizes && strides == o.strides;
  }
};

struct Step {
  const OpRecord* op = nullptr;
  const PointwiseInfo* info = nullptr;  ///< null: a structured op
  const Loops* loops = nullptr;         ///< of info: forward or a gradient
  DType compute = DType::f32;
  bool truth = false;
  std::vector<Operand> in, out;
  int params = 0;          ///< numbers of a pointwise op
  size_t attrs_bytes = 0;  ///< of a structured op
  RowWise rows;            ///< of a structured op
  unsigned written = 0;    ///< bit i: input i is changed; see writes()
  int group = 0;           ///< steps of one group may run as one kernel

  bool pointwise() const { return info != nullptr; }
  /// Whether the step changes input `i`. One without outputs (an optimizer's update) changes all.
  bool writes(size_t i) const { return out.empty() || (i < 32 && (written >> i & 1)); }
  /// Calls `f(operand)` for all memory that the step changes.
  template <class F>
  void each_written(F f) const {
    for (const Operand& o : out)
      if (o.in_memory()) f(o);
    for (size_t i = 0; i < in.size(); ++i)
      if (writes(i) && in[i].in_memory()) f(in[i]);
  }
  DType computed() const { return loops->writes_bool ? DType::bool_ : compute; }
  /// The op's name; gradients of pointwise ops end in "_backward".
  std::string name() const;
  /// Everything that a call must repeat, except the group.
  bool same(const Step& o) const;
};

/// Return addresses, the innermost first; null where there are no more.
inline constexpr int kSiteFrames = 20;
using CallSite = std::array<void*, kSiteFrames>;

/// What calls are compared with: a step without what other uses need, small and in one place.
struct Pattern {
  const OpRecord* op;
  const Loops* loops;
  size_t attrs_bytes;
  size_t words;  ///< of the operands in Graph::words: head(), then of what lies in memory offset, sizes, strides
  int params, n_in, n_out, group;
  DType compute;
  bool truth, by_rows;
  bool may_write;    ///< may_write_inputs()
  unsigned written;  ///< of such

  static uint64_t head(int buffer, DType dtype, int dims) {
    return static_cast<uint32_t>(buffer) | static_cast<uint64_t>(dtype) << 32 | static_cast<uint64_t>(dims) << 40;
  }
};

struct Buffer {
  size_t bytes = 0;
  bool born = false;  ///< allocated by the recorded call itself; else an input
};

struct Graph {
  std::vector<Step> steps;
  std::vector<CallSite> sites;    ///< of the steps
  std::vector<Pattern> patterns;  ///< of the steps
  std::vector<uint64_t> words;
  std::vector<Buffer> buffers;  ///< in order of first use
  int values = 0;

  void add(Step s, const CallSite& site);

  /// Numbers the values. A structured op without outputs (an optimizer's update) changes its inputs.
  void number();
  /// Throws weft::Error when a value is read before it is written, or an operand lies outside of its buffer.
  void verify() const;
  /// A line per step: "%4 = mul(%1, %3) f32[2, 3]  ; group 0".
  std::string str() const;
  /// For graphviz; a box per group.
  std::string dot() const;
};

}  // namespace weft::graph
