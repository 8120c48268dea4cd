#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/train_state.h"
#include "tools/weft/demo_feed.h"
#include "tools/weft/models.h"
#include "tools/weft/report.h"

// Training demos: `weft demo gpt`, `weft demo mnist`. A Task knows model and data; the loop, the files and the command
// line are shared.
namespace weft::demo {

/// Steps between validations; a constant, so that a resumed run validates at the same steps.
inline constexpr int64_t kEvaluateEvery = 200;

/// What the user chooses. The first part travels in checkpoints.
struct Settings {
  std::string demo;
  int64_t steps = 0, batch = 0, accumulate = 1;
  double lr = 1e-3;
  int64_t seed = 1;
  std::string optimizer = "adamw";
  std::string schedule = "cosine";  ///< as demo_schedule.h says; completed before training
  std::string device = "cpu", mode = "eager", amp = "none";
  bool checkpointing = false;
  std::string text;                                       // gpt; empty: weft's own sources
  int64_t layers = 4, heads = 4, embd = 128, block = 64;  // gpt
  std::string data;                                       // mnist; empty: drawn digits

  int threads = 0;  ///< 0: all
  int workers = 0;
  std::string out, resume, json, profile;
  int64_t save_every = kEvaluateEvery;
  bool quiet = false;

  // The text that gpt writes.
  std::optional<std::string> prompt = {};  ///< none: a line begins
  int64_t length = 1000, top_k = 0;
  double temperature = 0.5;
  bool no_cache = false, generate = false;
};

/// How a setting may change when a run is resumed.
enum class OnResume : uint8_t { may_change, fixed };

/// The one list of the settings of a demo: calls f(name, member, OnResume).
template <class S, class F>
void each_setting(S& s, F&& f) {
  f("steps", s.steps, OnResume::may_change);
  f("batch", s.batch, OnResume::fixed);
  f("accumulate", s.accumulate, OnResume::may_change);
  f("lr", s.lr, OnResume::may_change);
  f("seed", s.seed, OnResume::fixed);
  f("optimizer", s.optimizer, OnResume::fixed);
  f("schedule", s.schedule, OnResume::may_change);
  f("device", s.device, OnResume::may_change);
  f("mode", s.mode, OnResume::may_change);
  f("amp", s.amp, OnResume::may_change);
  f("checkpointing", s.checkpointing, OnResume::may_change);
  if (s.demo == "gpt") {
    f("text", s.text, OnResume::may_change);
    f("layers", s.layers, OnResume::fixed);
    f("heads", s.heads, OnResume::fixed);
    f("embd", s.embd, OnResume::fixed);
    f("block", s.block, OnResume::fixed);
  } else {
    f("data", s.data, OnResume::may_change);
  }
}

/// Result of an evaluation.
struct Score {
  double loss = 0;
  std::optional<double> accuracy = {};
};
/// What is shown at the end of a run.
struct Shown {
  std::string sample;
  double symbols_per_s = 0;  ///< of the sample
  std::vector<Digit> digits;
};

class Task {
 public:
  virtual ~Task() = default;
  virtual models::Model& model() = 0;
  /// The next batch to train on; what is in it depends on its number and the seed alone.
  virtual Batch next() = 0;
  virtual Tensor loss(const Batch& batch) = 0;
  /// The place in the training data.
  virtual void add_to(TrainState& state) = 0;
  /// On data never trained on: a fixed part of it, or all.
  virtual Score evaluate(bool all) = 0;
  virtual Shown show() = 0;
  /// Passes over the training data that `batches` make.
  virtual double epochs(int64_t batches) const = 0;
  virtual const char* unit() const = 0;
  virtual int64_t units_per_batch() const = 0;
  /// In a few words, with a checksum: a run is resumed on the same data only.
  virtual std::string dataset() const = 0;
  /// For checkpoints: what it takes to use the model.
  virtual Value extra() const { return Value::dict(); }
};

std::unique_ptr<Task> make_gpt(const Settings& s);
std::unique_ptr<Task> make_mnist(const Settings& s);

struct Outcome {
  Score final;
  double units_per_s = 0, train_s = 0;
  bool interrupted = false;
};

}  // namespace weft::demo
