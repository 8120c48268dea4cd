#include "tools/weft/demo.h"

#include <fmt/format.h>

#include <chrono>
#include <cmath>
#include <set>
#include <type_traits>

#include "core/cuda.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/random.h"
#include "data/serialize.h"
#include "tools/weft/commands.h"
#include "tools/weft/demo_output.h"
#include "tools/weft/demo_progress.h"
#include "tools/weft/demo_schedule.h"
#include "tools/weft/demo_train.h"
#include "tools/weft/demo_write.h"
#include "tools/weft/device.h"

namespace weft::demo {
namespace {

constexpr int64_t kMost = int64_t{1} << 40;  // of any count: products of several stay below 2^63 where they are checked

struct Demo {
  const char* name;
  const char* what;
  int64_t steps, batch;  // defaults
  std::unique_ptr<Task> (*make)(const Settings&);
};
constexpr Demo kDemos[] = {{"gpt", "a character GPT learns to write", 2000, 12, make_gpt},
                           {"mnist", "a convolutional network learns to read digits", 1000, 64, make_mnist}};

/// What was saved takes the place of what was not given on the command line. CLI::ValidationError for contradictions.
void merge(Settings& s, const std::set<std::string>& given, const Value& checkpoint) {
  WEFT_CHECK_FILE(checkpoint.is_dict() && checkpoint.contains("settings") && checkpoint["settings"].contains("demo"),
                  "resume: '{}' is not a checkpoint of weft demo", s.resume);
  const Value& saved = checkpoint["settings"];
  WEFT_CHECK_FILE(saved["demo"] == Value(s.demo), "resume: '{}' is a checkpoint of weft demo {}, not {}", s.resume,
                  saved["demo"].as_string("demo"), s.demo);
  each_setting(s, [&](const char* name, auto& member, OnResume rule) {
    using Member = std::remove_cvref_t<decltype(member)>;
    const Value* value = saved.find(name);
    // Checkpoints made before there was a choice.
    if (!value && (std::string_view(name) == "amp" || std::string_view(name) == "checkpointing")) return;
    WEFT_CHECK_FILE(value, "resume: '{}' lacks the setting '{}'", s.resume, name);
    Member before{};
    if constexpr (std::is_same_v<Member, std::string>)
      before = value->as_string(name);
    else if constexpr (std::is_same_v<Member, double>)
      before = value->as_double(name);
    else if constexpr (std::is_same_v<Member, bool>)
      before = value->as_bool(name);
    else {
      before = value->as_int(name);
      WEFT_CHECK_FILE(before >= (std::string_view(name) == "seed" ? 0 : 1), "resume: '{}' has {} as {}", s.resume,
                      before, name);
    }
    if (given.count(name) == 0)
      member = before;
    else if (rule == OnResume::fixed && member != before && !(s.generate && std::string_view(name) == "seed"))
      throw CLI::ValidationError(
          std::string("--") + name,
          fmt::format("{} contradicts the checkpoint, which was trained with {}", member, before));
  });
}

void check(const Settings& s) {
  if (s.demo == "gpt" && s.embd % s.heads != 0)
    throw CLI::ValidationError("--embd", fmt::format("{} cannot be divided among {} heads", s.embd, s.heads));
}

int run(Settings s, const Demo& demo, const std::set<std::string>& given) {
  const auto begin = std::chrono::steady_clock::now();
  Value checkpoint;
  if (!s.resume.empty()) {
    checkpoint = load(s.resume);
    merge(s, given, checkpoint);
  }
  check(s);
  s.schedule = complete_schedule(s.schedule, s.steps, demo.steps, s.lr);
  if (s.threads > 0) set_num_threads(s.threads);
  s.threads = num_threads();
  manual_seed(static_cast<uint64_t>(s.seed));
  const Device device = tools::use_device(s.device, "demo");
  if (s.generate) return write_only(s, checkpoint);

  const std::unique_ptr<Task> task = demo.make(s);
  task->model().to(device);
  task->model().checkpointing = s.checkpointing;
  Trainer trainer(s, *task);
  if (checkpoint.is_dict()) trainer.resume(checkpoint, s.resume);
  checkpoint = Value();
  Output output(s, task->model());

  int64_t weights = 0;
  for (const Tensor& p : task->model().parameters()) weights += p.numel();
  if (!s.quiet) {
    fmt::print("{}: {} parameters; {}\n{} of {} {}s, {}, {} threads\n", s.demo,
               with_commas(static_cast<double>(weights)), task->dataset(),
               trainer.step() > 0 ? fmt::format("from step {}: {} steps", trainer.step(), s.steps - trainer.step())
                                  : fmt::format("{} steps", s.steps),
               s.batch * s.accumulate, s.demo == "gpt" ? "window" : "image", s.optimizer, s.threads);
    if (device.is_cuda()) fmt::print("on {}\n", cuda::device_properties(device.index).name);
    std::fflush(stdout);
  }
  const Outcome outcome = trainer.run(
      [&] { output.save_checkpoint(trainer.checkpoint()); },
      s.profile.empty() ? nullptr : std::function([&](const profiler::Profiler& p) { output.save_profile(p); }));

  const LossRow& last = trainer.rows().back();
  if (outcome.interrupted) fmt::print("stopped at step {} of {}\n", last.step, s.steps);
  fmt::print("train loss {:.4f}, validation loss {:.4f}{}\n", last.train, outcome.final.loss,
             outcome.final.accuracy ? fmt::format(", test accuracy {:.2f}%", *outcome.final.accuracy * 100) : "");
  std::fflush(stdout);
  const Shown shown = outcome.interrupted ? Shown() : task->show();
  if (!shown.sample.empty()) fmt::print("\n{}\n", shown.sample);
  if (shown.symbols_per_s > 0 && !s.quiet)
    fmt::print("\n{} characters written per second\n", with_commas(shown.symbols_per_s));

  output.finish({.task = *task,
                 .trainer = trainer,
                 .outcome = outcome,
                 .shown = shown,
                 .weights = weights,
                 .wall_s = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count(),
                 .peak_mb = tools::peak_mb(device)});
  if (!s.profile.empty()) fmt::print("\nprofile in {}: trace.json, table.txt, profile.html\n", s.profile);
  if (!s.out.empty()) fmt::print("\nsaved in {}: model.safetensors, checkpoint.pt, report.html\n", s.out);
  if (outcome.interrupted && !s.out.empty())
    fmt::print("to go on: weft demo {} --resume {}/checkpoint.pt\n", s.demo, s.out);
  return 0;
}

std::string check_rate(const std::string& text) {
  double v = 0;
  return CLI::detail::lexical_cast(text, v) && std::isfinite(v) && v > 0 ? ""
                                                                         : "'" + text + "' is not a number above 0";
}

std::string check_prompt(const std::string& text) {
  return text.empty() ? "is empty; give at least one character" : "";
}

std::string check_temperature(const std::string& text) {
  double v = 0;
  return CLI::detail::lexical_cast(text, v) && std::isfinite(v) && v >= 0 ? ""
                                                                          : "'" + text + "' is not a number from 0";
}

/// The options of one demo; returns what runs it.
tools::Run add_one(CLI::App& app, const Demo& demo) {
  auto s = std::make_shared<Settings>();
  s->demo = demo.name;
  s->steps = demo.steps;
  s->batch = demo.batch;
  const auto count = CLI::Range(int64_t{1}, kMost, "N");
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.add_option("--steps", s->steps, "updates, those of a resumed run included")->check(count)->capture_default_str();
  app.add_option("--batch", s->batch, "samples of one forward pass")->check(count)->capture_default_str();
  app.add_option("--accumulate", s->accumulate, "forward passes of one update")->check(count)->capture_default_str();
  app.add_option("--lr", s->lr, "learning rate")->check(check_rate)->capture_default_str();
  app.add_option("--seed", s->seed, "of weights, data order and sample")
      ->check(CLI::Range(int64_t{0}, INT64_MAX, "N"))
      ->capture_default_str();
  app.add_option("--optimizer", s->optimizer, "adamw, adam or sgd")
      ->check(CLI::IsMember({"adamw", "adam", "sgd"}))
      ->capture_default_str();
  app.add_option("--schedule", s->schedule,
                 fmt::format("{}; cosine goes down to a tenth at step N (default: --steps, at least {}), step to a "
                             "tenth every N steps; PyTorch's as StepLR:step_size=100,gamma=0.5, "
                             "MultiStepLR:milestones=100+200",
                             schedule_help(), demo.steps))
      ->check(check_schedule)
      ->capture_default_str();
  app.add_option("--device", s->device, "cpu, cuda or cuda:N")->check(tools::check_device)->capture_default_str();
  app.add_option("--mode", s->mode, "eager, or of compiled functions: default, reduce-overhead, max-autotune")
      ->check(CLI::IsMember({"eager", "default", "reduce-overhead", "max-autotune"}))
      ->capture_default_str();
  app.add_option("--amp", s->amp, "none; bf16 or f16: forward passes under Autocast, f16 with a GradScaler")
      ->check(CLI::IsMember({"none", "bf16", "f16"}))
      ->capture_default_str();
  app.add_flag("--checkpointing", s->checkpointing,
               "activations are computed again in backward; never changes results");
  app.add_option("--workers", s->workers, "threads that make batches ahead; never changes results")
      ->check(CLI::Range(0, 256, "N"))
      ->capture_default_str();
  app.add_option("--threads", s->threads, "default: all cores; never changes results")->check(CLI::Range(1, 4096, "N"));
  CLI::Option* profile =
      app.add_option("--profile", s->profile, "folder for trace.json, table.txt and profile.html of a few steps");
  CLI::Option* out = app.add_option("--out", s->out, "folder for model.safetensors, checkpoint.pt and report.html");
  app.add_option("--save-every", s->save_every, "steps between two checkpoints")->check(count)->capture_default_str();
  CLI::Option* resume =
      app.add_option("--resume", s->resume, "continue the run of this checkpoint.pt, with its settings");
  app.add_option("--json", s->json, "write settings, losses and speed to this file");
  app.add_flag("--quiet", s->quiet, "show the result only");
  if (s->demo == "gpt") {
    app.add_option("--text", s->text, "UTF-8 text to learn from; default: weft's own sources");
    app.add_option("--layers", s->layers, "transformer blocks")->check(CLI::Range(1, 1000, "N"))->capture_default_str();
    app.add_option("--heads", s->heads, "attention heads")->check(CLI::Range(1, 1000, "N"))->capture_default_str();
    app.add_option("--embd", s->embd, "width")->check(CLI::Range(1, 100000, "N"))->capture_default_str();
    app.add_option("--block", s->block, "characters seen at once")
        ->check(CLI::Range(1, 100000, "N"))
        ->capture_default_str();
    app.add_option("--prompt", s->prompt, "what the text written at the end goes on from; default: a new line")
        ->check(check_prompt);
    app.add_option("--length", s->length, "characters to write")
        ->check(CLI::Range(int64_t{1}, int64_t{1} << 30, "N"))
        ->capture_default_str();
    app.add_option("--temperature", s->temperature, "draws by softmax(logits / X); 0: always the likeliest")
        ->check(check_temperature)
        ->capture_default_str();
    app.add_option("--top-k", s->top_k, "draws among the N likeliest; 0: all")
        ->check(CLI::Range(int64_t{0}, kMost, "N"))
        ->capture_default_str();
    app.add_flag("--no-cache", s->no_cache, "keys and values are computed again for every character; the same text");
    app.add_flag("--generate", s->generate, "only write, with the model of --resume; trains nothing")
        ->needs(resume)
        ->excludes(out)
        ->excludes(profile);
  } else {
    app.add_option("--data", s->data, "folder of MNIST's IDX files, .gz or not; default: digits drawn here");
  }
  return [s, &app, &demo] {
    std::set<std::string> given;
    each_setting(*s, [&](const char* name, const auto&, OnResume) {
      if (app.count(std::string("--") + name) > 0) given.insert(name);
    });
    return run(*s, demo, given);
  };
}

}  // namespace
}  // namespace weft::demo

namespace weft::tools {

Run add_demo(CLI::App& app) {
  app.require_subcommand(1);
  auto runs = std::make_shared<std::vector<std::pair<CLI::App*, Run>>>();
  for (const demo::Demo& d : demo::kDemos) {
    CLI::App* sub = app.add_subcommand(d.name, d.what);
    runs->emplace_back(sub, demo::add_one(*sub, d));
  }
  return [runs] {
    for (const auto& [sub, run] : *runs)
      if (sub->parsed()) return run();
    return 2;
  };
}

}  // namespace weft::tools
