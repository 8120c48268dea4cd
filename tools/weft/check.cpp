#include "tools/weft/check.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <thread>

#include "core/error.h"
#include "core/parallel.h"
#include "tools/weft/check_checkpoints.h"
#include "tools/weft/commands.h"
#include "tools/weft/device.h"
#include "tools/weft/json_file.h"

namespace weft::check {

namespace fs = std::filesystem;

CaseFunction case_function(const std::string& folder) {
  if (folder == "ops") return run_op_case;
  if (folder == "modules") return run_module_case;
  if (folder == "optim") return run_optim_case;
  if (folder == "lr_scheduler") return run_lr_scheduler_case;
  if (folder == "train") return run_train_case;
  return nullptr;
}

namespace {

constexpr std::string_view kCheckpoints = "checkpoints";  // one list for a folder of files; it has a runner of its own

struct Options {
  std::string dir, list, known, tier, only, device = "cpu", mode = "eager", json;
  int jobs = 1;
  bool strict = false;
};

struct Totals {
  std::map<std::string, Counts> files;  // "ops/softmax"
  std::map<std::string, Counts> folders;
  Counts all;
};

// DIR itself when it holds case files, else its known sub-folders.
std::vector<fs::path> folders(const std::string& dir) {
  WEFT_CHECK_FILE(fs::is_directory(dir), "check: {} is not a folder", dir);
  fs::path p = fs::canonical(dir);
  const auto known = [](const std::string& name) { return name == kCheckpoints || case_function(name); };
  if (known(p.filename().string())) return {p};
  std::vector<fs::path> out;
  for (const char* name : {"ops", "modules", "optim", "lr_scheduler", "checkpoints", "train"})
    if (fs::is_directory(p / name) && known(name)) out.push_back(p / name);
  WEFT_CHECK_FILE(!out.empty(), "check: {} holds no cases (no folder ops, modules, ... in it)", dir);
  return out;
}

// Throws where there is no such device. Processes of --jobs call it themselves.
void use_device() {
  if (device().is_cuda()) tools::use_device(device().str(), "check");
}

class Runner {
 public:
  explicit Runner(const Options& o) : options_(o), only_(o.only.empty() ? std::string(".") : o.only) {
    if (!o.list.empty()) {
      std::ifstream in(o.list);
      WEFT_CHECK_FILE(in.good(), "check: the list {} cannot be opened", o.list);
      for (std::string line; std::getline(in, line);)
        if (!line.empty()) listed_.insert(line);
    }
    if (!o.known.empty()) {
      std::ifstream in(o.known);
      WEFT_CHECK_FILE(in.good(), "check: the list {} cannot be opened", o.known);
      for (std::string line; std::getline(in, line);)
        if (!line.empty() && line[0] != '#') known_.insert(line);
    }
  }

  Totals run() {
    if (device().is_cuda() && options_.jobs > 1)
      run_processes();
    else
      run_share(0, 1, options_.jobs);
    return totals_;
  }

 private:
  // Every `shares`-th file, from number `share` on; checkpoints are in share 0.
  void run_share(size_t share, size_t shares, int thread_count) {
    for (const fs::path& folder : folders(options_.dir)) {
      if (folder.filename() == kCheckpoints) {
        if (share == 0) run_checkpoints(folder);
        continue;
      }
      std::vector<fs::path> paths;
      for (const auto& entry : fs::directory_iterator(folder))
        if (entry.path().extension() == ".json" && (listed_.empty() || listed_.count(entry.path().stem().string())))
          paths.push_back(entry.path());
      std::sort(paths.begin(), paths.end());
      for (const std::string& name : listed_)
        WEFT_CHECK_FILE(fs::exists(folder / (name + ".json")), "check: {} names {}, which {} does not hold",
                        options_.list, name, folder.string());
      std::atomic<size_t> next{share};
      auto work = [&] {
        for (size_t i; (i = next.fetch_add(shares)) < paths.size();) run_file(folder, paths[i]);
      };
      std::vector<std::thread> threads;
      for (int i = 1; i < thread_count; ++i) threads.emplace_back(work);
      work();
      for (auto& t : threads) t.join();
    }
  }

  // On a device jobs are processes: what a kernel finds wrong is reported to its process, and what breaks a device
  // breaks it for the rest of the process. This one has not touched the device, which a fork would not survive.
  void run_processes() {
    struct Child {
      pid_t pid;
      int pipe;
    };
    std::vector<Child> children;
    std::fflush(stdout);
    for (int i = 0; i < options_.jobs; ++i) {
      int ends[2];
      WEFT_CHECK(pipe(ends) == 0, "check: no pipe: {}", std::strerror(errno));
      const pid_t pid = fork();
      WEFT_CHECK(pid >= 0, "check: no process: {}", std::strerror(errno));
      if (pid == 0) {
        close(ends[0]);
        _exit(run_child(static_cast<size_t>(i), ends[1]));
      }
      close(ends[1]);
      children.push_back({pid, ends[0]});
    }
    std::string error;
    for (const Child& child : children) {
      if (FILE* in = fdopen(child.pipe, "r")) {
        char name[256];
        Counts c;
        while (std::fscanf(in, "%255s %d %d %d %d", name, &c.passed, &c.failed, &c.missing, &c.fell_back) == 5) {
          const std::string file = name;
          const size_t slash = file.find('/');
          add(file.substr(0, slash), file.substr(slash + 1), c);
        }
        std::fclose(in);
      }
      int status = 0;
      waitpid(child.pid, &status, 0);
      if (WIFEXITED(status) && WEXITSTATUS(status) == 0) continue;
      if (WIFEXITED(status) && WEXITSTATUS(status) == kNoDevice) use_device();  // throws
      error = WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "an error";
    }
    WEFT_CHECK(error.empty(), "check: a process of --jobs ended in: {}; --jobs 1 tells where", error);
  }
  static constexpr int kNoDevice = 3;
  int run_child(size_t share, int to) {
    try {
      use_device();
    } catch (const Error&) {
      return kNoDevice;
    }
    try {
      run_share(share, static_cast<size_t>(options_.jobs), 1);
    } catch (const std::exception& e) {
      std::fflush(stdout);
      std::fprintf(stderr, "weft: %s\n", e.what());
      return 1;
    }
    std::string text;
    for (const auto& [name, c] : totals_.files)
      text += name + " " + std::to_string(c.passed) + " " + std::to_string(c.failed) + " " + std::to_string(c.missing) +
              " " + std::to_string(c.fell_back) + "\n";
    std::fflush(stdout);
    return write(to, text.data(), text.size()) == static_cast<ssize_t>(text.size()) ? 0 : 1;
  }

  void run_file(const fs::path& folder, const fs::path& path) {
    CaseFile file;
    file.folder = folder.filename().string();
    file.stem = path.stem().string();
    file.head = tools::read_json<nlohmann::ordered_json>(path.string());
    if (!options_.tier.empty() && file.head.value("tier", "") != options_.tier) return;
    if (file.head.contains("tensors") && file.head["tensors"].is_string())
      file.tensors = std::make_unique<TensorFile>((folder / file.head["tensors"].get<std::string>()).string());
    Counts counts;
    const std::string more = options_.device == "cpu" ? "" : " --device " + options_.device;
    CaseFunction run_case = case_function(file.folder);
    // A file without `cases` is one case.
    const nlohmann::ordered_json whole = nlohmann::ordered_json::array({file.head});
    const nlohmann::ordered_json& cases = file.head.contains("cases") ? file.head["cases"] : whole;
    for (const auto& c : cases) {
      const std::string id = c.value("id", "");
      if (!std::regex_search(file.stem, only_) && !std::regex_search(file.stem + "/" + id, only_)) continue;
      Outcome o;
      try {
        o = options_.mode == "compiled" ? run_compiled(run_case, file, c) : run_case(file, c);
      } catch (const std::exception& e) {
        o = {Outcome::Kind::failed, e.what()};
      }
      counts.fell_back += o.fell_back;
      if (o.kind == Outcome::Kind::passed) {
        ++counts.passed;
        continue;
      }
      if (o.kind == Outcome::Kind::failed && known_.count(file.folder + "/" + file.stem + "/" + id)) {
        std::lock_guard lock(mutex_);
        std::printf("KNOWN %s/%s %s: %s\n", file.folder.c_str(), file.stem.c_str(), id.c_str(), o.detail.c_str());
        continue;
      }
      (o.kind == Outcome::Kind::missing ? counts.missing : counts.failed)++;
      if (o.kind == Outcome::Kind::missing && !options_.strict) continue;
      std::lock_guard lock(mutex_);
      std::printf("%s %s/%s %s: %s\n    weft check %s --only '^%s/%s$'%s\n",
                  o.kind == Outcome::Kind::missing ? "MISSING" : "FAIL", file.folder.c_str(), file.stem.c_str(),
                  id.c_str(), o.detail.c_str(), folder.c_str(), file.stem.c_str(), id.c_str(), more.c_str());
    }
    std::lock_guard lock(mutex_);
    add(file.folder, file.stem, counts);
  }

  void run_checkpoints(const fs::path& folder) {
    const std::string name(kCheckpoints);
    if ((!listed_.empty() && !listed_.count(name)) || options_.tier == "B") return;
    const auto result = tools::check_checkpoints(folder.string(), [&](const std::string& id) {
      return std::regex_search(name, only_) || std::regex_search(name + "/" + id, only_);
    });
    for (const auto& failure : result.failures)
      std::printf("FAIL %s %s: %s\n    weft check %s --only '^%s/%s$'\n", name.c_str(), failure.id.c_str(),
                  failure.what.c_str(), folder.c_str(), name.c_str(), failure.id.c_str());
    add(name, name, {.passed = result.passed, .failed = static_cast<int>(result.failures.size())});
  }

  void add(const std::string& folder, const std::string& stem, const Counts& counts) {
    if (counts.passed + counts.failed + counts.missing == 0) return;
    totals_.files[folder + "/" + stem] = counts;
    for (Counts* sum : {&totals_.folders[folder], &totals_.all}) {
      sum->passed += counts.passed;
      sum->failed += counts.failed;
      sum->missing += counts.missing;
      sum->fell_back += counts.fell_back;
    }
  }

  const Options& options_;
  std::regex only_;
  std::set<std::string> listed_, known_;
  std::mutex mutex_;
  Totals totals_;
};

void write_json(const std::string& path, const Totals& t) {
  auto one = [](const Counts& c) {
    return nlohmann::ordered_json{{"passed", c.passed}, {"failed", c.failed}, {"missing", c.missing}};
  };
  nlohmann::ordered_json j = one(t.all);
  j["fell_back"] = t.all.fell_back;
  for (const auto& [name, counts] : t.files) j["files"][name] = one(counts);
  std::ofstream out(path);
  out << j.dump(1) << "\n";
  out.flush();
  WEFT_CHECK_FILE(out.good(), "check: {} cannot be written", path);
}

int run(const Options& o) {
  device() = Device(o.device);
  if (o.jobs == 1) use_device();
  Totals t = Runner(o).run();
  const bool compiled = o.mode == "compiled";
  std::printf("%-14s %8s %8s %8s%s\n", "folder", "passed", "failed", "missing", compiled ? "  in parts" : "");
  const auto row = [&](const std::string& name, const Counts& c) {
    std::printf("%-14s %8d %8d %8d", name.c_str(), c.passed, c.failed, c.missing);
    std::printf(compiled ? "  %8d\n" : "\n", c.fell_back);
  };
  for (const auto& [name, c] : t.folders) row(name, c);
  row("all", t.all);
  if (!o.json.empty()) write_json(o.json, t);
  if (t.all.passed + t.all.failed + t.all.missing == 0) {
    std::fprintf(stderr, "weft: check: no case matches\n");
    return 1;
  }
  return t.all.failed == 0 && (!o.strict || t.all.missing == 0) ? 0 : 1;
}

}  // namespace
}  // namespace weft::check

namespace weft::tools {

Run add_check(CLI::App& app) {
  auto o = std::make_shared<check::Options>();
  app.add_option("DIR", o->dir, "folder of cases: ops, modules, ..., or the folder that holds them")->required();
  app.add_option("--list", o->list, "only the files named in FILE, one per line");
  app.add_option("--known", o->known, "cases that FILE names (folder/file/id) may fail: they are shown, not counted");
  app.add_option("--tier", o->tier, "only this tier")->check(CLI::IsMember({"A", "B"}));
  app.add_option("--only", o->only, "only cases whose FILE or FILE/ID matches");
  app.add_option("--device", o->device, "cpu, cuda or cuda:N");
  app.add_option("--mode", o->mode,
                 "compiled: each case eagerly, then as compiled functions: right, and bit for bit the same")
      ->check(CLI::IsMember({"eager", "compiled"}));
  app.add_option("--json", o->json, "write the counts to FILE");
  app.add_option("--jobs", o->jobs, "files run side by side; on a device, in processes")->check(CLI::Range(1, 256));
  app.add_flag("--strict", o->strict, "missing ops fail too");
  return [o] { return check::run(*o); };
}

}  // namespace weft::tools
