#pragma once
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "compile/compile.h"
#include "core/registry.h"
#include "optim/scheduler.h"

// Running the cases of a conformance folder (its README tells the format).
namespace weft::check {

struct Counts {
  int passed = 0, failed = 0, missing = 0, fell_back = 0;
};

/// What a case came to; `detail` says why it failed.
struct Outcome {
  enum class Kind { passed, failed, missing } kind = Kind::passed;
  std::string detail;
  bool fell_back = false;  ///< failed because a compiled call ran in parts, and no op says why it must
};

/// The tensors beside a case file, read when asked for: names are numbers.
class TensorFile {
 public:
  explicit TensorFile(const std::string& path);
  ~TensorFile();
  TensorFile(const TensorFile&) = delete;
  TensorFile& operator=(const TensorFile&) = delete;
  /// A fresh contiguous copy.
  Tensor load(const std::string& name) const;

 private:
  nlohmann::ordered_json header_;
  const char* data_ = nullptr;
  void* map_ = nullptr;
  size_t bytes_ = 0, data_bytes_ = 0;
};

/// One case file: its head, its tensors, its cases.
struct CaseFile {
  std::string folder;  ///< "ops", "modules", ...
  std::string stem;    ///< "softmax"
  nlohmann::ordered_json head;
  std::unique_ptr<TensorFile> tensors;
};

/// Where the tensors of cases live (--device); set before the first case.
Device& device();
/// Waits for the device, so that what its kernels found wrong is thrown here. Nothing on the CPU.
void finish_device();

/// Turns the JSON of a case into values; remembers the leaves in order of appearance.
class Decoder {
 public:
  explicit Decoder(const CaseFile& file, bool with_grad = true) : file_(file), with_grad_(with_grad) {}
  Value value(const nlohmann::ordered_json& j);
  Tensor tensor(const nlohmann::ordered_json& reference);
  const std::vector<Tensor>& leaves() const { return leaves_; }
  /// All tensors decoded so far, in order (views refer to them by number).
  const std::vector<Tensor>& seen() const { return seen_; }

 private:
  const CaseFile& file_;
  bool with_grad_;
  std::vector<Tensor> leaves_, seen_;
};

/// How the computations of a case run, and which tensors were compared: what `--mode compiled` needs to tell compiled
/// functions from eager ones bit by bit. One per thread and case.
struct Session {
  using Body = std::function<void()>;
  bool compiled = false;
  std::map<std::string, Compiled<void (*)(const Body&)>> functions;  ///< by key
  std::vector<Tensor> compared;                                      ///< copies, in order
  static thread_local Session* current;                              ///< null: eager, nothing is kept
};
/// Runs `body`: at once, or as a call of the case's compiled function `key`.
void compute(const std::string& key, const Session::Body& body);
/// To be called with every tensor that is compared with a reference.
void note_compared(const Tensor& t);

/// The tensors of a result, depth first.
void flatten(const Value& v, std::vector<Tensor>& out);
double number(const nlohmann::ordered_json& j);  // also {"float": "inf"}
/// Empty when `got` agrees with the reference, else what differs.
std::string compare(const CaseFile& file, const Value& got, const nlohmann::ordered_json& want, double rtol,
                    double atol);
std::string compare_tensors(const Tensor& got, const Tensor& want, double rtol, double atol, bool absolute = false);

// One function per kind of folder.
Outcome run_module_case(const CaseFile& file, const nlohmann::ordered_json& c);
Outcome run_op_case(const CaseFile& file, const nlohmann::ordered_json& c);
Outcome run_lr_scheduler_case(const CaseFile& file, const nlohmann::ordered_json& c);
Outcome run_optim_case(const CaseFile& file, const nlohmann::ordered_json& c);
Outcome run_train_case(const CaseFile& file, const nlohmann::ordered_json& c);

using CaseFunction = Outcome (*)(const CaseFile&, const nlohmann::ordered_json&);
/// The scheduler that `c` names, with its kwargs, on `optimizer`, which must outlive it.
std::shared_ptr<optim::Scheduler> make_scheduler(optim::Optimizer& optimizer, const nlohmann::ordered_json& c);
/// The case eagerly, then four times with its computations compiled: right, and the same bits, each time.
Outcome run_compiled(CaseFunction run_case, const CaseFile& file, const nlohmann::ordered_json& c);
/// Null when the folder's kind is not known.
CaseFunction case_function(const std::string& folder);

}  // namespace weft::check
