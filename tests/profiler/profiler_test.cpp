#include "profiler/profiler.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <thread>

#include "autograd/autograd.h"
#include "core/cuda.h"
#include "core/error.h"
#include "core/ops/matmul.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/random.h"
#include "core/ops/reduce.h"
#include "nn/nn.h"
#include "tests/catch.h"

using namespace weft;
using Catch::Matchers::Contains;
using profiler::Event;
using profiler::EventKind;
using profiler::Profiler;

namespace {

std::vector<Event> named(const Profiler& p, const std::string& name) {
  std::vector<Event> out;
  std::copy_if(p.events().begin(), p.events().end(), std::back_inserter(out),
               [&](const Event& e) { return e.name == name; });
  return out;
}
const Event& parent(const Profiler& p, const Event& e) { return p.events().at(static_cast<size_t>(e.parent)); }

profiler::Average row(const profiler::KeyAverages& averages, const std::string& key) {
  for (const auto& a : averages.rows)
    if (a.key == key) return a;
  FAIL("no row " << key);
  return {};
}

struct Block : nn::Layer<Block> {
  nn::Linear up{*this, "up", 4, 8}, down{*this, "down", 8, 4};
  Tensor forward(const Tensor& x) { return down(relu(up(x))); }
};
struct Net : nn::Layer<Net> {
  nn::ModuleList<Block> blocks{*this, "blocks"};
  nn::Sequential head{*this, "head", nn::Linear{4, 2}, nn::ReLU{}};
  Net() {
    blocks.emplace_back();
    blocks.emplace_back();
  }
  Tensor forward(const Tensor& input) {
    Tensor x = input;
    for (Block& b : blocks) x = b(x);
    return head(x);
  }
};

}  // namespace

TEST_CASE("nothing is recorded before start and after stop") {
  Profiler p;
  Tensor x = rand({3});
  REQUIRE_FALSE(detail::profiling());
  (void)(x + x);
  p.start();
  REQUIRE(detail::profiling());
  (void)(x * x);
  p.stop();
  REQUIRE_FALSE(detail::profiling());
  (void)(x + x);
  p.stop();  // again: nothing
  CHECK(named(p, "mul").size() == 1);
  CHECK(named(p, "add").empty());
  CHECK(p.events().size() == 1);
}

TEST_CASE("times nest, and self times add up to the whole") {
  Profiler p;
  p.start();
  {
    profiler::record_function outer("outer");
    Tensor x = rand({64, 64});
    {
      profiler::record_function inner("inner");
      for (int i = 0; i < 5; ++i) x = matmul(x, x).tanh();
    }
    x = x.add(1);
  }
  p.stop();
  const Event outer = named(p, "outer").at(0), inner = named(p, "inner").at(0);
  CHECK(outer.kind == EventKind::range);
  CHECK(outer.parent == -1);
  CHECK(parent(p, inner).name == "outer");
  CHECK(named(p, "tanh").size() == 5);
  CHECK(parent(p, named(p, "tanh")[0]).name == "inner");
  CHECK(parent(p, named(p, "add").at(0)).name == "outer");
  int64_t self = 0, before = -1;
  for (const Event& e : p.events()) {
    CHECK(e.start_ns >= before);
    before = e.start_ns;
    CHECK(e.self_ns >= 0);
    CHECK(e.self_ns <= e.duration_ns);
    self += e.self_ns;
    if (e.parent < 0) continue;
    CHECK(e.depth == parent(p, e).depth + 1);
    CHECK(e.start_ns >= parent(p, e).start_ns);
    CHECK(e.start_ns + e.duration_ns <= parent(p, e).start_ns + parent(p, e).duration_ns);
  }
  CHECK(self == outer.duration_ns);
}

TEST_CASE("a row does not count what lies inside of itself twice") {
  Profiler p;
  p.start();
  {
    profiler::record_function a("again");
    profiler::record_function b("again");
  }
  p.stop();
  const auto again = row(p.key_averages(), "again");
  CHECK(again.count == 2);
  CHECK(again.cpu_time_total_ns == p.events().at(0).duration_ns);
  CHECK(again.self_cpu_time_total_ns == again.cpu_time_total_ns);
}

TEST_CASE("shapes and dtypes of inputs, in-place and view ops") {
  Profiler p({.record_shapes = true});
  Tensor x = zeros({2, 3}), n = zeros({3}, {.dtype = DType::i64});
  p.start();
  (void)(x + n);
  x.mul_(2);
  (void)x.transpose(0, 1);
  (void)matmul(x, x.t());
  p.stop();
  const Event add = named(p, "add").at(0);
  REQUIRE(add.inputs.size() == 2);
  CHECK(add.inputs[0].sizes == Dims{2, 3});
  CHECK(add.inputs[1].sizes == Dims{3});
  CHECK(add.inputs[1].dtype == DType::i64);
  CHECK(named(p, "mul_").at(0).kind == EventKind::op);
  CHECK(std::any_of(p.events().begin(), p.events().end(), [](const Event& e) {
    return e.kind == EventKind::view && e.inputs.at(0).sizes == Dims{2, 3};
  }));
  const auto grouped = p.key_averages({.group_by_input_shape = true});
  CHECK(row(grouped, "add").input_shapes == "[[2, 3], [3]]");
  CHECK(grouped.table().find("[[2, 3], [3]]") != std::string::npos);

  Profiler plain;
  plain.start();
  (void)(x + n);
  plain.stop();
  CHECK(plain.events().at(0).inputs.empty());
}

TEST_CASE("memory is charged to the op that allocates it") {
  const DefaultDevice host("cpu");
  Profiler p({.profile_memory = true});
  Tensor x = rand({256, 256});
  p.start();
  {
    profiler::record_function range("range");
    Tensor y = x.exp();       // pointwise
    Tensor z = matmul(y, x);  // structured: its front end allocates
    {
      profiler::record_function free("free");
      y = Tensor();
    }
    x = z;  // and the first x goes
  }
  p.stop();
  const int64_t bytes = 256 * 256 * 4;
  CHECK(named(p, "exp").at(0).memory == bytes);
  CHECK(named(p, "exp").at(0).live == bytes);
  int64_t product = 0;
  for (const char* name : {"mm", "matmul"})
    for (const Event& e : named(p, name)) product = std::max(product, e.memory);
  CHECK(product == bytes);
  CHECK(named(p, "free").at(0).memory == -bytes);
  const Event range = named(p, "range").at(0);
  CHECK(range.memory == 0);
  CHECK(range.self_memory == -bytes);
  CHECK(row(p.key_averages(), "exp").self_cpu_memory_usage == bytes);
  CHECK(p.key_averages().table({.sort_by = "cpu_memory_usage"}).find("256.00 KB") != std::string::npos);
}

TEST_CASE("backward nodes, the ops inside of them, and the op that made them") {
  Profiler p;
  Tensor a = rand({8, 8}, {.requires_grad = true}), b = rand({8, 8}, {.requires_grad = true});
  p.start();
  matmul(a, b).sigmoid().sum().backward();
  p.stop();
  const Event sigmoid = named(p, "sigmoid (backward)").at(0);
  CHECK(sigmoid.kind == EventKind::backward);
  REQUIRE(sigmoid.forward >= 0);
  CHECK(p.events()[static_cast<size_t>(sigmoid.forward)].name == "sigmoid");
  CHECK(named(p, "accumulate_grad").size() == 2);
  bool inside = false;
  for (const Event& e : p.events())
    inside |= e.kind == EventKind::op && e.parent >= 0 && parent(p, e).kind == EventKind::backward;
  CHECK(inside);
}

TEST_CASE("modules have the path of their names, in backward too") {
  Net net;
  Tensor x = rand({3, 4});
  Profiler p;
  p.start();
  net(x).sum().backward();
  p.stop();
  std::vector<std::string> paths;
  for (const Event& e : p.events())
    if (e.kind == EventKind::module) paths.push_back(e.module);
  CHECK(paths == std::vector<std::string>{"Net", "Net.blocks.0", "Net.blocks.0.up", "Net.blocks.0.down", "Net.blocks.1",
                                          "Net.blocks.1.up", "Net.blocks.1.down", "Net.head", "Net.head.0",
                                          "Net.head.1"});
  CHECK(named(p, "nn.Module: Linear").size() == 5);
  const std::vector<Event> relus = named(p, "relu");
  REQUIRE(relus.size() == 3);
  CHECK(relus[0].module == "Net.blocks.0");
  CHECK(relus[2].module == "Net.head.1");
  const std::vector<Event> backward = named(p, "relu (backward)");
  REQUIRE(backward.size() == 3);
  CHECK(backward[0].module == "Net.head.1");
  CHECK(backward[2].module == "Net.blocks.0");
  CHECK(named(p, "sum").at(0).module.empty());
  const auto by_module = p.key_averages({.group_by_module = true});
  CHECK(std::count_if(by_module.rows.begin(), by_module.rows.end(), [](const auto& a) { return a.key == "relu"; }) ==
        3);
}

TEST_CASE("call sites") {
  Profiler p({.with_stack = true});
  Tensor x = rand({3});
  p.start();
  (void)x.exp();
  p.stop();
  const Event e = named(p, "exp").at(0);
  REQUIRE_FALSE(e.stack.empty());
  CHECK(std::any_of(e.stack.begin(), e.stack.end(),
                    [](const std::string& f) { return f.find("test_profiler") != std::string::npos; }));
  CHECK(p.key_averages({.group_by_stack_n = 2}).rows.at(0).stack.find(e.stack[0]) == 0);
}

TEST_CASE("every thread is seen, and threads do not mix") {
  Profiler p({.record_shapes = true, .profile_memory = true});
  p.start();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([] {
      profiler::record_function range("work");
      Tensor x = rand({16});
      for (int i = 0; i < 50; ++i) x = x.mul(0.5);
    });
  for (std::thread& t : threads) t.join();
  p.stop();
  CHECK(p.threads() == 4);
  CHECK(named(p, "work").size() == 4);
  const std::vector<Event> products = named(p, "mul");
  CHECK(products.size() == 200);
  for (const Event& e : products) {
    CHECK(parent(p, e).name == "work");
    CHECK(parent(p, e).thread == e.thread);
  }
}

TEST_CASE("recordings begin and end while other threads run ops") {
  std::atomic<bool> over{false};
  std::thread worker([&] {
    Tensor x = rand({16});
    while (!over) {
      profiler::record_function range("work");
      x = x.mul(0.5).add(1);
    }
  });
  for (int i = 0; i < 20; ++i) {
    Profiler p({.profile_memory = true});
    p.start();
    (void)rand({4}).exp();
    p.stop();
    CHECK(named(p, "exp").size() == 1);
    for (const Event& e : p.events()) {
      CHECK(e.duration_ns >= 0);
      if (e.parent >= 0) CHECK(parent(p, e).thread == e.thread);
    }
  }
  over = true;
  worker.join();
}

TEST_CASE("a schedule records the steps it names") {
  std::vector<std::vector<std::string>> recordings;
  Profiler p({.schedule = profiler::schedule({.wait = 1, .warmup = 1, .active = 2, .repeat = 2}),
              .on_trace_ready = [&](Profiler& done) {
                std::vector<std::string> names;
                for (const Event& e : done.events()) names.push_back(e.name);
                recordings.push_back(names);
              }});
  Tensor x = rand({2});
  p.start();
  for (int i = 0; i < 10; ++i) {
    (void)(i % 2 ? x.exp() : x.sin());
    p.step();
  }
  p.stop();
  using Names = std::vector<std::string>;
  CHECK(recordings == std::vector<Names>{{"ProfilerStep#2", "sin", "ProfilerStep#3", "exp"},
                                         {"ProfilerStep#6", "sin", "ProfilerStep#7", "exp"}});
  CHECK(row(p.key_averages(), "ProfilerStep*").count == 2);

  using profiler::Action;
  const auto s = profiler::schedule({.wait = 0, .warmup = 1, .active = 1, .repeat = 1, .skip_first = 2});
  std::vector<Action> actions;
  for (int64_t i = 0; i < 5; ++i) actions.push_back(s(i));
  CHECK(actions ==
        std::vector<Action>{Action::none, Action::none, Action::warmup, Action::record_and_save, Action::none});
  CHECK_THROWS_AS(profiler::schedule({.active = 0}), Error);
}

TEST_CASE("stop within an active step ends the recording and what is open") {
  int calls = 0;
  Profiler p({.schedule = profiler::schedule({.active = 5}), .on_trace_ready = [&](Profiler&) { ++calls; }});
  p.start();
  profiler::record_function range("open");
  (void)rand({2}).exp();
  p.stop();
  CHECK(calls == 1);
  const Event open = named(p, "open").at(0), exp = named(p, "exp").at(0);
  CHECK(open.start_ns + open.duration_ns >= exp.start_ns + exp.duration_ns);
}

TEST_CASE("an error inside of an op leaves the nesting right") {
  Profiler p;
  Tensor a = rand({2, 3});
  p.start();
  CHECK_THROWS_AS(a + rand({4, 5}), Error);
  (void)a.exp();
  p.stop();
  CHECK(named(p, "exp").at(0).parent == -1);
}

TEST_CASE("beyond max_events events are counted, and self times stay right") {
  Profiler p({.max_events = 10});
  p.start();
  {
    profiler::record_function range("range");
    Tensor x = rand({4});
    for (int i = 0; i < 100; ++i) x = x.mul(0.5);
  }
  p.stop();
  CHECK(p.events().size() == 10);
  CHECK(p.dropped() >= 91);
  const Event range = named(p, "range").at(0);
  int64_t inside = 0;
  for (const Event& e : named(p, "mul")) inside += e.duration_ns;
  CHECK(range.self_ns < range.duration_ns - inside);
  CHECK(p.key_averages().table().find("were dropped") != std::string::npos);
  CHECK(p.html().find("were dropped") != std::string::npos);
}

TEST_CASE("the table: columns, order, limit, errors") {
  Profiler p;
  Tensor x = rand({1000});
  p.start();
  for (int i = 0; i < 3; ++i) (void)x.exp();
  (void)x.sin();
  p.stop();
  const auto averages = p.key_averages();
  CHECK(averages.sorted("count").at(0).key == "exp");
  const std::string table = averages.table({.sort_by = "count", .row_limit = 1});
  for (const char* text : {"Name", "Self CPU %", "Self CPU", "CPU total %", "CPU total", "CPU time avg", "# of Calls",
                           "Self CPU time total: ", "1 more rows"})
    CHECK(table.find(text) != std::string::npos);
  CHECK(table.find("sin") == std::string::npos);
  CHECK(table.find("CPU Mem") == std::string::npos);
  CHECK_THROWS_WITH(averages.table({.sort_by = "time"}), Contains("cannot sort by \"time\""));
}

TEST_CASE("the Chrome trace is valid JSON, whatever the names") {
  Profiler p({.record_shapes = true, .profile_memory = true});
  Tensor x = rand({2, 3}, {.requires_grad = true});
  p.start();
  {
    profiler::record_function range("quote \" back\\slash \n tab\t <b> \xC3\xA4 broken \xC3(");
    (x * x).sum().backward();
  }
  p.stop();
  const nlohmann::json trace = nlohmann::json::parse(p.chrome_trace());
  std::vector<nlohmann::json> spans;
  int starts = 0, ends = 0;
  for (const auto& e : trace.at("traceEvents")) {
    if (e.at("ph") == "X") spans.push_back(e);
    starts += e.at("ph") == "s";
    ends += e.at("ph") == "f";
  }
  REQUIRE(spans.size() == p.events().size());
  CHECK(spans[0].at("name") == "quote \" back\\slash \n tab\t <b> \xC3\xA4 broken \xEF\xBF\xBD(");
  CHECK(spans[1].at("name") == "mul");
  CHECK(spans[1].at("args").at("Input Dims") == nlohmann::json::parse("[[2, 3], [2, 3]]"));
  CHECK(spans[1].at("dur").get<double>() * 1000 == Approx(p.events()[1].duration_ns));
  CHECK(starts == ends);
  CHECK(starts >= 2);

  const auto path = std::filesystem::temp_directory_path() / "weft_profiler_test.json";
  p.export_chrome_trace(path.string());
  std::ifstream file(path);
  CHECK(nlohmann::json::parse(file) == trace);
  std::filesystem::remove(path);
  CHECK_THROWS_AS(p.export_chrome_trace("/nowhere/at/all/trace.json"), FileError);

  const std::string page = p.html("a <title>");
  CHECK(page.find("a &lt;title&gt;") != std::string::npos);
  CHECK(page.find("<b>\xC3") == std::string::npos);
  CHECK(page.find("mul (backward)") != std::string::npos);
}

TEST_CASE("one profiler at a time") {
  Profiler first, second;
  first.start();
  CHECK_THROWS_WITH(second.start(), Contains("one runs already"));
  first.stop();
  second.start();
  second.stop();
  CHECK_THROWS_AS(second.step(), Error);
  {
    profiler::Profile block;
    CHECK(detail::profiling());
  }
  CHECK_FALSE(detail::profiling());
}

TEST_CASE("a recording of devices needs a device") {
  if (cuda::is_available()) return;  // tests/cuda/profiler_test.cpp
  Profiler p({.cuda = true});
  CHECK_THROWS_WITH(p.start(), Contains("profiler on cuda:0"));
  Profiler without;  // the failed one does not count as running
  without.start();
  without.stop();
  CHECK(without.device_events().empty());
}
