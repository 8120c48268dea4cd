#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <map>
#include <regex>

#include "core/error.h"
#include "tools/weft/commands.h"
#include "tools/weft/device.h"
#include "tools/weft/fuzz.h"

namespace weft::fuzz {
namespace {

struct Options {
  int64_t count = 1000;
  uint64_t seed = 0;
  std::string only, device = "cpu";
  bool verbose = false;
};

constexpr rlim_t kMostMemory = rlim_t{6} << 30;  // bytes of addresses

// The command that reruns the program, for a process that ends in a signal.
char rerun[160];
int rerun_size = 0;

void on_signal(int number) {
  if (write(STDERR_FILENO, rerun, static_cast<size_t>(rerun_size)) < 0) _exit(number);
  std::signal(number, SIG_DFL);
  std::raise(number);
}

std::string command(const Options& o, uint64_t seed) {
  std::string s = "weft fuzz programs --count 1 --seed " + std::to_string(seed);
  if (!o.only.empty()) s += " --ops-only '" + o.only + "'";
  if (o.device != "cpu") s += " --device " + o.device;
  return s;
}

int run_programs(const Options& o) {
  device() = tools::use_device(o.device, "fuzz");
  const std::regex pattern(o.only.empty() ? std::string(".") : o.only);
  const auto only = [&](const std::string& name) { return std::regex_search(name, pattern); };
  for (int number : {SIGSEGV, SIGABRT, SIGFPE, SIGBUS, SIGILL}) std::signal(number, on_signal);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  // A chain of ops that multiply sizes ends in an error, not in the machine's memory.
  const rlimit most{kMostMemory, RLIM_INFINITY};
  if (device().is_cpu()) setrlimit(RLIMIT_AS, &most);  // drivers reserve addresses beyond any memory
#endif
  std::map<std::string, int64_t> uses;
  int64_t ops = 0, backward = 0, differed = 0, cut = 0, raised = 0, matched = 0, direct = 0;
  for (int64_t i = 0; i < o.count; ++i) {
    const uint64_t seed = o.seed + static_cast<uint64_t>(i);
    rerun_size = std::snprintf(rerun, sizeof rerun, "weft: the signal came in\n    %s\n", command(o, seed).c_str());
    rerun_size = std::min(rerun_size, static_cast<int>(sizeof rerun) - 1);
    Program p;
    try {
      p = generate(seed, only);
    } catch (const std::exception& e) {
      ++differed;
      std::printf("DIFFERS seed %llu: eager: %s\n    %s\n", static_cast<unsigned long long>(seed), e.what(),
                  command(o, seed).c_str());
      continue;
    }
    ops += static_cast<int64_t>(p.steps.size());
    backward += p.backward;
    for (const Step& s : p.steps) ++uses[s.op];
    if (o.verbose && o.count == 1) std::printf("%s", text(p).c_str());
    const Verdict v = check(p);
    cut += v.cut;
    raised += v.raised;
    matched += v.matched;
    direct += v.direct;
    if (v.difference.empty()) continue;
    ++differed;
    const Program least = shrink(p);
    std::printf("DIFFERS seed %llu: %s\nshrunk: %s\n%s    %s\n", static_cast<unsigned long long>(seed),
                v.difference.c_str(), check(least).difference.c_str(), text(least).c_str(), command(o, seed).c_str());
    std::fflush(stdout);
  }
  if (o.verbose)
    for (const auto& [name, n] : uses) std::printf("%8lld %s\n", static_cast<long long>(n), name.c_str());
  const auto number = [](int64_t n) { return static_cast<long long>(n); };
  std::printf(
      "%lld programs, %lld ops, %lld with backward, %lld matched at the second call, %lld replayed directly, %lld cut "
      "in "
      "parts, %lld raised, %lld differed\n",
      number(o.count), number(ops), number(backward), number(matched), number(direct), number(cut), number(raised),
      number(differed));
  return differed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace weft::fuzz

namespace weft::tools {

Run add_fuzz(CLI::App& app) {
  auto o = std::make_shared<fuzz::Options>();
  app.require_subcommand(1);
  CLI::App* programs = app.add_subcommand("programs", "random programs, compiled: the bits of eager ones?");
  programs->add_option("--count", o->count, "programs")->check(CLI::Range(int64_t{1}, int64_t{1} << 40));
  programs->add_option("--seed", o->seed, "of the first program; the next has the next one");
  programs->add_option("--device", o->device, "cpu, cuda or cuda:N")->check(check_device)->capture_default_str();
  programs->add_option("--ops-only", o->only, "only ops whose name matches");
  programs->add_flag("--verbose", o->verbose, "how often each op was used; with --count 1 the program");
  return [o] { return fuzz::run_programs(*o); };
}

}  // namespace weft::tools
