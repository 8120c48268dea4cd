#include "tools/weft/demo_output.h"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "data/formats/file.h"
#include "data/serialize.h"
#include "tools/weft/demo_progress.h"

namespace weft::demo {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

void write_file(const std::string& path, const std::string& text) {
  formats::AtomicFile file(path);
  file.write(text);
  file.commit();
}

std::string in_folder(const std::string& folder, const char* name) { return (fs::path(folder) / name).string(); }

/// Makes the folder and tries whether its files can be written. A file begun and not committed leaves nothing behind.
void try_folder(const std::string& folder, std::initializer_list<const char*> names) {
  std::error_code error;
  fs::create_directories(folder, error);
  WEFT_CHECK_FILE(!error, "demo: cannot make the folder '{}': {}", folder, error.message());
  for (const char* name : names) formats::AtomicFile probe(in_folder(folder, name));
}

/// Numbers that JSON cannot hold become null.
ordered_json number(double v) { return std::isfinite(v) ? ordered_json(v) : ordered_json(nullptr); }
ordered_json number(const std::optional<double>& v) { return v ? number(*v) : ordered_json(nullptr); }

std::string json_text(const Settings& s, const Finished& run) {
  ordered_json settings{{"demo", s.demo}};
  each_setting(s, [&](const char* name, const auto& value, OnResume) { settings[name] = value; });
  settings["threads"] = s.threads;
  settings["workers"] = s.workers;
  settings["dataset"] = run.task.dataset();
  ordered_json loss = ordered_json::array();
  for (const LossRow& r : run.trainer.rows()) loss.push_back({r.step, number(r.train), number(r.val)});
  const LossRow& last = run.trainer.rows().back();
  ordered_json j{
      {"settings", settings},
      {"loss", loss},
      {"final", {{"step", last.step}, {"train", number(last.train)}, {"val", number(run.outcome.final.loss)}}},
      {std::string(run.task.unit()) + "_per_s", number(run.outcome.units_per_s)},
      {"sample", run.shown.sample},
      {"wall_s", run.wall_s},
      {"peak_mb", run.peak_mb}};
  if (run.shown.symbols_per_s > 0) j["sample_per_s"] = run.shown.symbols_per_s;
  if (run.outcome.final.accuracy) j["final"]["accuracy"] = *run.outcome.final.accuracy;
  return j.dump() + "\n";
}

Report report_of(const Settings& s, const Finished& run) {
  const LossRow& last = run.trainer.rows().back();
  Report r;
  r.title = "weft demo " + s.demo;
  r.subtitle = fmt::format("{} parameters; {}", with_commas(static_cast<double>(run.weights)), run.task.dataset());
  if (run.outcome.interrupted) r.subtitle += fmt::format("; stopped at step {} of {}", last.step, s.steps);
  if (run.outcome.final.accuracy)
    r.headline.emplace_back("test accuracy", fmt::format("{:.2f}%", *run.outcome.final.accuracy * 100));
  r.headline.emplace_back("validation loss", fmt::format("{:.4f}", run.outcome.final.loss));
  r.headline.emplace_back("training loss", fmt::format("{:.4f}", last.train));
  r.headline.emplace_back("steps", with_commas(static_cast<double>(last.step)));
  r.headline.emplace_back(fmt::format("{} per second", run.task.unit()), with_commas(run.outcome.units_per_s));
  r.headline.emplace_back("training time", clock_text(run.outcome.train_s));
  r.loss = run.trainer.rows();
  if (run.shown.digits.empty()) r.sample = run.shown.sample;
  r.digits = run.shown.digits;
  each_setting(s, [&](const char* name, const auto& value, OnResume) {
    const std::string text = fmt::format("{}", value);
    if (!text.empty()) r.settings.emplace_back(name, text);
  });
  r.settings.emplace_back("threads", std::to_string(s.threads));
  r.settings.emplace_back("peak memory", fmt::format("{:.0f} MB", run.peak_mb));
  return r;
}

}  // namespace

Output::Output(const Settings& settings, const nn::Module& model) : settings_(settings) {
  if (!settings.json.empty()) formats::AtomicFile probe(settings.json);
  if (!settings.profile.empty()) try_folder(settings.profile, {"trace.json", "table.txt", "profile.html"});
  if (settings.out.empty()) return;
  try_folder(settings.out, {"checkpoint.pt", "model.safetensors", "report.html"});
  // The new files beside the old ones: weights, weights and two moments, a page.
  uint64_t bytes = 0;
  for (const Tensor& p : model.parameters()) bytes += p.nbytes();
  bytes = 4 * bytes + (1 << 20);
  std::error_code error;
  const fs::space_info space = fs::space(settings.out, error);
  WEFT_CHECK_FILE(error || space.available >= bytes, "demo: '{}' has {} MB free, the files of this run need {} MB",
                  settings.out, space.available >> 20, bytes >> 20);
}

void Output::save_checkpoint(const Value& checkpoint) {
  if (!settings_.out.empty()) saver_.save(in_folder(settings_.out, "checkpoint.pt"), checkpoint);
}

void Output::save_profile(const profiler::Profiler& p) const {
  write_file(in_folder(settings_.profile, "trace.json"), p.chrome_trace());
  std::string tables = p.key_averages().table({.row_limit = -1});
  tables += "\nBy input shapes\n" + p.key_averages({.group_by_input_shape = true}).table({.row_limit = 40});
  tables += "\nBy module\n" + p.key_averages({.group_by_module = true}).table({.row_limit = 40});
  write_file(in_folder(settings_.profile, "table.txt"), tables);
  write_file(in_folder(settings_.profile, "profile.html"), p.html("weft demo " + settings_.demo));
}

void Output::finish(const Finished& run) {
  saver_.wait();
  if (!settings_.out.empty()) {
    save_safetensors(in_folder(settings_.out, "model.safetensors"), run.task.model().state_dict(),
                     {{"format", "pt"}, {"demo", settings_.demo}, {"step", std::to_string(run.trainer.step())}});
    write_file(in_folder(settings_.out, "report.html"), report_html(report_of(settings_, run)));
  }
  if (!settings_.json.empty()) write_file(settings_.json, json_text(settings_, run));
}

}  // namespace weft::demo
