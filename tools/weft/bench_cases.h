#pragma once
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "tools/weft/bench.h"

// The kernel cases: what one runs, and how much work it is.
namespace weft::bench {

/// What runs, the inputs that get gradients, and what a run changes in place. No `run`: there is no such op here.
struct Case {
  std::function<Tensor()> run;
  std::vector<Tensor> inputs, changed = {};
};
/// c: {"op", "shapes", ...} as in the peers' kernels.json. Inputs are random, the same on every device.
Case make_case(const nlohmann::json& c, DType dtype, Device device = {});

/// The cases of o's file, or of a list that covers every kernel.
nlohmann::json cases_of(const KernelOptions& o);

/// AxB,CxD
std::string shapes_text(const nlohmann::json& shapes);

/// The least work of one call. flops: of matrix products, convolutions and attention exactly, of other ops a few per
/// element (an exp counts as one). Bytes: every input read once, every output written once; with gradients the inputs
/// and the output's gradient read again, the inputs' gradients written.
struct Work {
  double flops = 0, read = 0, written = 0;
  double distinct = 0;  ///< bytes of all tensors together
  bool bf16 = false;
  double bytes() const { return read + written; }
};
Work work_of(const nlohmann::json& c, DType dtype, bool grad, const Tensor& output);

/// What the machine could do it in, and what bounds it: compute, read, copy, triad or write
/// (tools/weft/bench_ceilings.h).
struct Ceiling {
  std::string bound;
  double us = 0;
  double memory_us = 0;  ///< the same for a memory that is far larger than the caches
};
Ceiling ceiling_of(const Work& work);

/// Forward alone, or forward and backward of a case.
struct Timed {
  std::string name;  ///< op/AxB,CxD/dtype[/grad]
  bool overhead;     ///< tiny: the time is that of the call
  Work work;
  double us;
  double one_thread_us = 0;  ///< where o.one_thread asks for it and computing, not memory, is the bound
};
/// Times the cases that o chooses, one after another, and gives each to `done`. On a device a case that fails is a line
/// on stderr; returns how many did.
int time_cases(const nlohmann::json& cases, const KernelOptions& o, const std::function<void(const Timed&)>& done);

/// Runs the cases that o chooses, with the same inputs, on one thread and on all (at least two), forward and backward;
/// gives the name of each and whether the results had the same bits to `done`; returns how many differ.
int compare_threads(const nlohmann::json& cases, const KernelOptions& o,
                    const std::function<void(const std::string& name, bool same)>& done);

}  // namespace weft::bench
