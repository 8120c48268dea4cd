#pragma once
#include <functional>
#include <string>
#include <vector>

#include "compile/compile.h"
#include "core/device.h"

namespace weft::bench {

/// Microseconds of one call of f: the best of nine rounds of about 20 ms, after two calls to warm up. As the peers
/// measure. On a device a round ends when its work is done.
double best_us(const std::function<void()>& f, Device device = {});

/// Calls a compiled function until its code is there and nothing is chosen any more; 20 s at most.
void settle(const std::function<void()>& call, const std::function<CompileStats()>& stats);

struct TrainOptions {
  std::string workload, workloads, device = "cpu", amp = "none", mode = "eager";
  int threads = 0, steps = 20;
  int64_t batch = 0;
  bool channels_last = false, infer = false;
  int64_t generate = 0;   ///< symbols to write instead of one forward pass; 0: none
  bool no_cache = false;  ///< of keys and values
};
int run_train(const TrainOptions& o);
/// Text written by the model of a gpt workload, behind one symbol.
int run_generate(const TrainOptions& o);

struct KernelOptions {
  std::string cases, only, device = "cpu", mode = "eager";  ///< no file of cases: a list of its own
  int threads = 0;
  bool one_thread = false;  ///< also time compute-bound cases on one thread
  bool bits = false;        ///< compare the results of one thread and of all instead of timing
};
int run_kernels(const KernelOptions& o);

/// What comparing an op with a recording costs, in ns an op: a compiled function of ops whose kernels need not run,
/// less the same ops with their kernels left out.
struct MatchingOptions {
  int ops = 1000;
};
int run_matching(const MatchingOptions& o);

struct RooflineOptions {
  KernelOptions kernels;
  std::string json, html;
};
int run_roofline(const RooflineOptions& o);

struct OpOptions {
  std::string name, shapes, dtype = "f32", device = "cpu";
  std::vector<std::string> arguments;  ///< name=value
  int threads = 0;
  bool grad = false;
};
int run_op(const OpOptions& o);

/// What a device does: its memory, kernels against it, products, attention, launches and a GPT-2 training step.
struct DeviceOptions {
  std::string device = "cuda", only;
  bool small = false;  ///< tiny sizes: does every case run?
};
int run_device(const DeviceOptions& o);

/// Samples a second of a loader on images of MNIST's size, u8 made f32: transformed a batch at a time, and one by one.
struct DataOptions {
  int64_t samples = 60000, batch = 64;
  int workers = 2, epochs = 5;
  std::string peer;  ///< a command that takes the same options and prints its figures as a JSON line
};
int run_data(const DataOptions& o);

}  // namespace weft::bench
