#include "compile/toolchain.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <utility>

#include "compile/report.h"
#include "core/error.h"

namespace weft::graph {
namespace {

namespace fs = std::filesystem;

constexpr int kPatience = 120;  // seconds for one compilation
constexpr size_t kMostWords = 4000;
constexpr const char* kFolder = "weft-build-";  // and six letters

// The numeric flags are those of weft's own kernels (cmake/flags.cmake).
std::vector<std::string> flags() {
  std::istringstream in(WEFT_NUMERIC_FLAGS
                        " -std=c++20 -O3 -march=native -fPIC -shared -nostdlib -fno-exceptions -fno-rtti"
                        " -fno-asynchronous-unwind-tables -fvisibility=hidden -w -pipe -x c++ -");
  return {std::istream_iterator<std::string>(in), {}};
}

// Not in place of a standard stream that the program has closed.
int above_streams(int number) {
  if (number < 0 || number > 2) return number;
  const int above = ::fcntl(number, F_DUPFD_CLOEXEC, 3);
  ::close(number);
  return above;
}

// Where a command is; "" when PATH has none.
std::string find_command(const std::string& name) {
  if (name.find('/') != std::string::npos) return ::access(name.c_str(), X_OK) == 0 ? name : "";
  const char* path = std::getenv("PATH");
  std::istringstream folders(path ? path : "/usr/local/bin:/usr/bin:/bin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string at = (folder.empty() ? "." : folder) + "/" + name;
    struct stat s {};
    if (::stat(at.c_str(), &s) == 0 && S_ISREG(s.st_mode) && ::access(at.c_str(), X_OK) == 0) return at;
  }
  return {};
}

// A folder for what the compiler writes; nothing is kept of it.
class Workplace {
 public:
  explicit Workplace(const std::string& in) {
    std::string pattern = in + "/" + kFolder + "XXXXXX";
    if (::mkdtemp(pattern.data())) path_ = pattern;
  }
  ~Workplace() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  Workplace(const Workplace&) = delete;
  Workplace& operator=(const Workplace&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::vector<std::string> places() {
  std::vector<std::string> all;
  if (const char* own = std::getenv("TMPDIR"); own && *own == '/') all.push_back(own);
  all.push_back("/tmp");
  all.push_back("/dev/shm");  // where disks are full
  return all;
}

// Of processes that were killed while they compiled.
void remove_leftovers(const std::vector<std::string>& places) {
  const auto now = fs::file_time_type::clock::now();
  for (const std::string& place : places) {
    std::error_code none;
    for (fs::directory_iterator at(place, none), end; !none && at != end; at.increment(none)) {
      const fs::directory_entry& e = *at;
      struct stat s {};
      if (!e.path().filename().string().starts_with(kFolder) || ::lstat(e.path().c_str(), &s) != 0) continue;
      if (S_ISDIR(s.st_mode) && s.st_uid == ::geteuid() && e.last_write_time(none) + std::chrono::hours(1) < now)
        fs::remove_all(e.path(), none);
    }
  }
}

// Until the compiler has closed its end: false when it is to be stopped.
bool listen(int from, const std::atomic<bool>& stop, std::string& output) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(kPatience);
  for (;;) {
    pollfd p{from, POLLIN, 0};
    const int ready = ::poll(&p, 1, 20);
    if (stop || std::chrono::steady_clock::now() > end) return false;
    if (ready <= 0) continue;
    char bytes[512];
    const ssize_t n = ::read(from, bytes, sizeof bytes);
    if (n == 0) return true;
    if (n > 0 && output.size() < kMostWords) output.append(bytes, static_cast<size_t>(n));
  }
}

// In a process group of its own, that Ctrl-C does not reach, with nothing of this program's but its environment; it
// ends with this thread.
pid_t run(char** arguments, char** variables, int in, int out) {
  const pid_t parent = ::getpid();
  const pid_t child = ::vfork();
  if (child != 0) return child;
  // Only what is allowed between vfork() and exec.
  sigset_t none;
  ::sigemptyset(&none);
  for (const int s : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGCHLD}) ::signal(s, SIG_DFL);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::setpgid(0, 0);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);
  ::dup2(in, 0);
  ::dup2(out, 1);
  ::dup2(out, 2);
  ::syscall(SYS_close_range, 3u, ~0u, 0u);
  ::execve(arguments[0], arguments, variables);
  ::_exit(127);
}

}  // namespace

std::string cpu_facts() {
  std::ifstream in("/proc/cpuinfo");
  std::string facts;
  for (std::string line; std::getline(in, line) && !line.empty();)
    for (const char* of : {"vendor_id", "cpu family", "model", "stepping", "flags", "CPU ", "Features"})
      if (line.starts_with(of)) {
        facts += line + "\n";
        break;
      }
  return facts;
}

int memory_file() { return above_streams(::memfd_create("weft", MFD_CLOEXEC)); }

bool fill(const File& file, const std::string& content) {
  for (size_t done = 0; done < content.size();) {
    const ssize_t n = ::pwrite(file.number(), content.data() + done, content.size() - done, static_cast<off_t>(done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    done += static_cast<size_t>(n);
  }
  return true;
}

Toolchain::Toolchain() : places_(places()) {
  const char* asked = std::getenv("CXX");
  std::vector<std::string> names{WEFT_COMPILER, "c++", "g++", "clang++"};
  if (asked && *asked) names = {asked};
  for (const std::string& name : names) {
    std::istringstream words(name);
    command_.assign(std::istream_iterator<std::string>(words), {});
    if (command_.empty()) continue;
    command_[0] = find_command(command_[0]);
    if (!command_[0].empty()) break;
  }
  if (command_.empty() || command_[0].empty()) {
    missing_ = asked && *asked ? std::string("CXX is '") + asked + "', and there is no such command"
                               : "there is no C++ compiler (c++, g++, clang++) in PATH";
    return;
  }
  // Its version, without asking it: that takes as long as reading a kernel from the cache may.
  for (const std::string& word : command_) key_ += word + "\n";
  std::error_code none;
  for (const std::string& word : command_) {
    const std::string at = find_command(word);
    if (at.empty()) continue;
    struct stat s {};
    const std::string file = fs::canonical(at, none).string();
    if (::stat(file.c_str(), &s) == 0)
      key_ += detail::format("{} {} {}\n", {file, static_cast<int64_t>(s.st_size), static_cast<int64_t>(s.st_mtime)});
  }
  for (const std::string& a : flags()) key_ += a + " ";
  key_ += "\n" + cpu_facts();
  for (char** v = environ; *v; ++v)
    if (std::strncmp(*v, "TMPDIR=", 7) != 0) environment_.push_back(*v);
}

bool Toolchain::compile(const std::string& text, const std::atomic<bool>& stop, std::string& image, std::string& why) {
  if (!std::exchange(swept_, true)) remove_leftovers(places_);
  for (const std::string& place : places_) {
    if (stop) break;
    if (compile_in(place, text, stop, image, why)) return true;
  }
  return false;
}

bool Toolchain::compile_in(const std::string& place, const std::string& text, const std::atomic<bool>& stop,
                           std::string& image, std::string& why) {
  const Workplace folder(place);
  if (folder.path().empty()) {
    why = "no folder can be made in " + place + ": " + std::strerror(errno);
    return false;
  }
  const std::string made = folder.path() + "/code.so";
  std::vector<std::string> words = command_;
  for (std::string& f : flags()) words.push_back(std::move(f));
  words.insert(words.end(), {"-o", made});
  std::vector<char*> arguments, variables;
  for (std::string& w : words) arguments.push_back(w.data());
  arguments.push_back(nullptr);
  std::string temporary = "TMPDIR=" + folder.path();
  for (std::string& v : environment_) variables.push_back(v.data());
  variables.push_back(temporary.data());
  variables.push_back(nullptr);

  const File source(memory_file());
  int pipe[2] = {-1, -1};
  if (source.number() < 0 || !fill(source, text) || ::pipe2(pipe, O_CLOEXEC) != 0) {
    why = std::string("the compiler cannot be given its text: ") + std::strerror(errno);
    return false;
  }
  const File said(above_streams(pipe[0]));
  File says(above_streams(pipe[1]));
  const pid_t child = run(arguments.data(), variables.data(), source.number(), says.number());
  says.close();
  if (child < 0) {
    why = words[0] + ": " + std::strerror(errno);
    return false;
  }
  std::string output;
  const bool ended = listen(said.number(), stop, output);
  if (!ended) ::kill(-child, SIGKILL);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  std::ifstream in(made, std::ios::binary);
  image.assign(std::istreambuf_iterator<char>(in), {});
  // Where the program ignores SIGCHLD there is no status.
  if (ended && WIFEXITED(status) && WEXITSTATUS(status) == 0 && !image.empty()) return true;
  why = words[0] + (ended ? " failed: " + output : " did not end");
  debug(1, why);
  return false;
}

}  // namespace weft::graph
