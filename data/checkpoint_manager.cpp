#include "data/checkpoint_manager.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <future>

#include "core/error.h"
#include "data/formats/file.h"
#include "data/serialize.h"

namespace weft {
namespace {

namespace fs = std::filesystem;
constexpr std::string_view kEnding = ".pt";

/// The step in "NAME-STEP.pt"; nothing for other names.
std::optional<int64_t> step_of(std::string_view file, std::string_view name) {
  if (!file.starts_with(name) || !file.ends_with(kEnding)) return std::nullopt;
  file.remove_prefix(name.size());
  if (!file.starts_with('-')) return std::nullopt;
  file = file.substr(1, file.size() - 1 - kEnding.size());
  int64_t step = 0;
  const auto [end, error] = std::from_chars(file.data(), file.data() + file.size(), step);
  if (error != std::errc() || end != file.data() + file.size() || std::to_string(step) != file) return std::nullopt;
  return step;
}

std::vector<int64_t> steps_in(const std::string& folder, const std::string& name) {
  std::vector<int64_t> steps;
  std::error_code error;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
    if (const auto step = step_of(at->path().filename().string(), name)) steps.push_back(*step);
  WEFT_CHECK_FILE(!error, "checkpoints: cannot read the folder '{}': {}", folder, error.message());
  std::sort(steps.begin(), steps.end());
  return steps;
}

std::string path_of(const std::string& folder, const std::string& name, int64_t step) {
  return (fs::path(folder) / (name + "-" + std::to_string(step) + std::string(kEnding))).string();
}

}  // namespace

// Not in the header: <future> is a quarter of what weft.h takes to compile.
struct AsyncSaver::Running {
  std::future<void> saved;
};

AsyncSaver::AsyncSaver() : running_(std::make_unique<Running>()) {}
AsyncSaver::~AsyncSaver() = default;

void AsyncSaver::save(std::string path, const Value& value, std::function<void()> then) {
  wait();
  running_->saved =
      std::async(std::launch::async, [path = std::move(path), copy = snapshot(value), then = std::move(then)] {
        weft::save(path, copy);
        if (then) then();
      });
}

void AsyncSaver::wait() {
  if (running_->saved.valid()) running_->saved.get();
}

CheckpointManager::CheckpointManager(std::string folder, const CheckpointOptions& options)
    : folder_(std::move(folder)), options_(options) {
  WEFT_CHECK(options_.keep_last >= 1, "checkpoints: keep_last must be at least 1, got {}", options_.keep_last);
  WEFT_CHECK(!options_.name.empty() && options_.name.find('/') == std::string::npos,
             "checkpoints: the name '{}' must not be empty nor hold a slash", options_.name);
  std::error_code error;
  fs::create_directories(folder_, error);
  WEFT_CHECK_FILE(!error, "checkpoints: cannot make the folder '{}': {}", folder_, error.message());
  formats::remove_leftovers(folder_, options_.name + "-");
}

std::vector<int64_t> CheckpointManager::steps() const { return steps_in(folder_, options_.name); }

std::string CheckpointManager::path(int64_t step) const { return path_of(folder_, options_.name, step); }

void CheckpointManager::save(int64_t step, const Value& value) {
  WEFT_CHECK(step >= 0, "checkpoints: step must not be negative, got {}", step);
  const auto drop_old = [folder = folder_, name = options_.name, keep = static_cast<size_t>(options_.keep_last), step] {
    const std::vector<int64_t> steps = steps_in(folder, name);
    for (size_t i = 0; i + keep < steps.size(); ++i) {
      std::error_code ignored;  // what cannot be removed only takes space
      if (steps[i] != step) fs::remove(path_of(folder, name, steps[i]), ignored);
    }
  };
  if (options_.asynchronous) return saver_.save(path(step), value, drop_old);
  weft::save(path(step), value);
  drop_old();
}

std::optional<CheckpointManager::Loaded> CheckpointManager::load_latest(const TransferOptions& o) const {
  std::vector<int64_t> all = steps();
  std::vector<std::string> skipped;
  for (; !all.empty(); all.pop_back()) {
    try {
      return Loaded{all.back(), load(path(all.back()), o), std::move(skipped)};
    } catch (const FileError& error) {
      skipped.emplace_back(error.what());
    }
  }
  WEFT_CHECK_FILE(skipped.empty(), "checkpoints: none of the {} files '{}-*.pt' in '{}' can be read; the newest: {}",
                  skipped.size(), options_.name, folder_, skipped.front());
  return std::nullopt;
}

}  // namespace weft
