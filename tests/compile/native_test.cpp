// Machine code that is made while the program runs: by the compiler, and from the folder of compiled kernels.
#include "compile/native.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <functional>
#include <thread>
#include <vector>

#include "tests/catch.h"
#include "tests/environment.h"
#include "tests/folder.h"
#include "tests/sanitized.h"

#if defined(__SANITIZE_THREAD__)
#define NEED_FORK() SKIP_TEST("no threads after fork()")
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define NEED_FORK() SKIP_TEST("no threads after fork()")
#endif
#endif
#define SKIP_TEST(why) \
  {                    \
    WARN(why);         \
    return;            \
  }
#ifndef NEED_FORK
#define NEED_FORK()
#endif

// Memory of the parent's threads is nobody's after fork(): LeakSanitizer does not look at children.
namespace {
bool is_child = false;
}
extern "C" int __lsan_is_turned_off();
extern "C" int __lsan_is_turned_off() { return is_child; }

namespace weft::graph {
namespace {

using State = Native::State;

std::string text_of(int number) {
  const std::string n = std::to_string(number);
  return "extern \"C\" __attribute__((visibility(\"default\"))) int number(int x) { return x * 3 + " + n +
         "; }\nextern \"C\" __attribute__((visibility(\"default\"))) void add(float* a, const float* b, long n) {\n"
         "  for (long i = 0; i < n; ++i) a[i] += b[i];\n}\n";
}
int number(const Native& n, int x) { return reinterpret_cast<int (*)(int)>(n.symbol("number"))(x); }

// What a process of its own finds: `f` gives its exit status.
int apart(const std::function<int()>& f) {
  std::fflush(nullptr);
  if (kSanitized) {  // no thread is to hold a lock of the instrumented allocator: all that is being built ends first
    make_native(text_of(-1))->wait();
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    is_child = true;
    int status = 99;
    try {
      status = f();
    } catch (...) {
    }
    _exit(status);
  }
  int status = -1;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}
void put(const char* name, const std::string& value) { setenv(name, value.c_str(), 1); }

TEST_CASE("generated code is built in the background, and the same text once") {
  const auto code = make_native(text_of(7)), same = make_native(text_of(7));
  CHECK(code == same);
  REQUIRE(code->wait() == State::ready);
  CHECK(number(*code, 5) == 22);
  CHECK(code->symbol("absent") == nullptr);
  CHECK(code->why().empty());
  std::vector<float> a(100, 1.5f), b(100, 2.f);
  reinterpret_cast<void (*)(float*, const float*, long)>(code->symbol("add"))(a.data(), b.data(), 100);
  CHECK(a == std::vector<float>(100, 3.5f));
}

TEST_CASE("generated code that does not compile: the compiler's words") {
  const auto code = make_native("extern \"C\" int wrong( { return 1; }");
  REQUIRE(code->wait() == State::failed);
  CHECK_THAT(code->why(), Catch::Matchers::Contains("failed") && Catch::Matchers::Contains("error"));
}

TEST_CASE("generated code: many threads ask at once") {
  std::vector<std::thread> threads;
  std::vector<int> results(8);
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&results, i] {
      const auto code = make_native(text_of(100 + i % 3));
      results[static_cast<size_t>(i)] = code->wait() == State::ready ? number(*code, 0) : -1;
    });
  for (std::thread& t : threads) t.join();
  for (int i = 0; i < 8; ++i) CHECK(results[static_cast<size_t>(i)] == 100 + i % 3);
}

TEST_CASE("generated code: fork() while another thread loads some") {
  NEED_FORK();
  if (kSanitized) SKIP_TEST("instrumented allocators do not prepare for fork()");
  for (int i = 0; i < 3; ++i) CHECK(make_native(text_of(200 + i))->wait() == State::ready);
  std::atomic<bool> stop{false};
  std::thread other([&] {
    while (!stop)
      for (int i = 0; i < 3; ++i) make_native(text_of(200 + i))->wait();
  });
  for (int k = 0; k < 30; ++k)
    CHECK(apart([&] { return make_native(text_of(200 + k % 3))->wait() == State::ready ? 7 : 0; }) == 7);
  stop = true;
  other.join();
}

TEST_CASE("generated code is kept on disk: a second process does not compile") {
  NEED_FORK();
  const test::TemporaryFolder folder;
  const std::string cache = folder.file("cache"), log = folder.file("log"), compiler = folder.file("compiler");
  std::ofstream(compiler) << "#!/bin/sh\necho called >> " << log << "\nexec c++ \"$@\"\n";
  chmod(compiler.c_str(), 0700);
  const auto calls = [&] {
    std::ifstream in(log);
    int n = 0;
    for (std::string line; std::getline(in, line);) ++n;
    return n;
  };
  const auto use = [&] {
    return apart([&] {
      put("CXX", compiler);
      put("WEFT_CACHE_DIR", cache);
      const auto code = make_native(text_of(1));
      return code->wait() == State::ready ? number(*code, 2) : 0;
    });
  };
  CHECK(use() == 7);
  CHECK(calls() == 1);
  CHECK(use() == 7);
  CHECK(calls() == 1);
  // Damaged entries are made again.
  for (const auto& e : std::filesystem::directory_iterator(cache)) {
    std::fstream file(e.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-1, std::ios::end);
    file.put('\x7f');
  }
  CHECK(use() == 7);
  CHECK(calls() == 2);
  CHECK(use() == 7);
  CHECK(calls() == 2);
}

TEST_CASE("generated code: no compiler, folders that cannot be used, a full disk, a program that ends") {
  NEED_FORK();
  const test::TemporaryFolder folder;
  const test::EnvironmentVariable cache("WEFT_CACHE_DIR", folder.file("cache"));
  const auto fails_with = [](const std::string& words) {
    const auto code = make_native(text_of(2));
    return code->wait() == State::failed && code->why().find(words) != std::string::npos ? 0 : 1;
  };
  const auto works = [] {
    const auto code = make_native(text_of(3));
    return code->wait() == State::ready && number(*code, 1) == 6 ? 0 : 1;
  };
  CHECK(apart([&] {
          put("CXX", "no-such-compiler -O3");
          return fails_with("no such command");
        }) == 0);
  CHECK(apart([&] {
          put("CXX", "/bin/false");
          return fails_with("failed");
        }) == 0);
  CHECK(apart([&] {
          put("CXX", "g++ -O3");
          put("WEFT_CACHE_DIR", "/proc/none");
          put("TMPDIR", "/proc/none");
          return works();
        }) == 0);
  CHECK(apart([&] {  // the standard streams are closed
          for (int fd : {0, 1, 2}) close(fd);
          return works();
        }) == 0);
  CHECK(apart([&] {  // a program that does not care for its children
          signal(SIGCHLD, SIG_IGN);
          return works();
        }) == 0);
  const auto begin = std::chrono::steady_clock::now();
  const std::string slow = folder.file("slow");
  std::ofstream(slow) << "#!/bin/sh\nsleep 50\n";
  chmod(slow.c_str(), 0700);
  CHECK(apart([&] {
          put("CXX", slow);
          const auto code = make_native(text_of(4));
          std::this_thread::sleep_for(std::chrono::milliseconds(100));
          std::exit(code->state() == State::building ? 0 : 1);
          return 1;
        }) == 0);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(20));
}

}  // namespace
}  // namespace weft::graph
