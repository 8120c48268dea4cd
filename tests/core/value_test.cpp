#include "core/value.h"

#include "core/error.h"
#include "tests/catch.h"

using namespace weft;

namespace {
template <class Run>
std::string error_of(Run run) {
  try {
    run();
  } catch (const Error& error) {
    return error.what();
  }
  return {};
}
}  // namespace

TEST_CASE("value: braces make a dict, in order") {
  const Value v = {{"epoch", 3}, {"lr", 0.5}, {"name", "gpt"}, {"on", true}, {"none", Value()}, {"nested", {{"a", 1}}}};
  REQUIRE(v.is_dict());
  CHECK(v.str() == "{'epoch': 3, 'lr': 0.5, 'name': 'gpt', 'on': True, 'none': None, 'nested': {'a': 1}}");
  CHECK(v["epoch"].as_int() == 3);
  CHECK(v["nested"]["a"].as_int() == 1);
  CHECK(v.contains("lr"));
  CHECK_FALSE(v.contains("LR"));
  CHECK(Value({{"a", "b"}}).is_dict());
  CHECK(Value({{1, "int key"}, {"x", 2}})[1].as_string() == "int key");
}

TEST_CASE("value: kinds stay apart") {
  CHECK(Value(true).is_bool());
  CHECK(Value(1).is_int());
  CHECK(Value(size_t{1}).is_int());
  CHECK(Value(1.0).is_double());
  CHECK(Value(1.0f).is_double());
  CHECK(Value("x").is_string());
  CHECK(Value(std::string("x")).is_string());
  CHECK(Value(DType::bf16).as_dtype() == DType::bf16);
  CHECK(Value(Device("cpu")).is_device());
  CHECK(Value("cpu").as_device() == Device("cpu"));
  CHECK(Value(Scalar(2)).is_int());
  CHECK(Value(Scalar(2.0)).is_double());
  CHECK(Value(3).as_double() == 3.0);
  CHECK(Value(3).as_scalar().i64() == 3);
  CHECK_FALSE(Value(1) == Value(1.0));
  CHECK_FALSE(Value(1) == Value(true));
  CHECK_FALSE(Value::list({1}) == Value::tuple({1}));
  CHECK(Value::list({1, "x"}) == Value::list({1, "x"}));
}

TEST_CASE("value: accessors name the argument, what is expected and what came") {
  CHECK(error_of([] { Value("x").as_int("dim"); }) == "dim: expects an int, got str 'x'");
  CHECK(error_of([] { Value(1.5).as_int(); }) == "expects an int, got float 1.5");
  CHECK(error_of([] { Value(1).as_bool("keepdim"); }) == "keepdim: expects a bool, got int 1");
  CHECK(error_of([] { Value().as_tensor("weight"); }) == "weight: expects a tensor, got none");
  CHECK(error_of([] { Value::list({1, "x"}).as_ints("dims"); }) == "dims: expects an int, got str 'x'");
  CHECK(error_of([] { Value({{"a", 1}})["b"]; }) == "dict: no key 'b'; there are: 'a'");
  CHECK(error_of([] { Value({{"a", 1}}).as_state_dict(); }) == "a: expects a tensor, got int 1");
  CHECK(error_of([] { Value::list({1}).at(1); }) == "list index: 1 is out of range; the list has 1 elements");
  CHECK_THROWS_AS(Value(1).as_list(), TypeError);
}

TEST_CASE("value: copies do not see later changes") {
  Value a = {{"list", Value::list({1, 2})}};
  const Value b = a;
  a.mutable_at("list").mutable_list().push_back(3);
  a.set("new", 4);
  CHECK(a.str() == "{'list': [1, 2, 3], 'new': 4}");
  CHECK(b.str() == "{'list': [1, 2]}");
  Value fresh;
  fresh.set("x", {{"y", 1}});
  fresh.mutable_at("x").set("y", 2);
  CHECK(fresh.str() == "{'x': {'y': 2}}");
  CHECK_THROWS_AS(fresh.mutable_at("z"), IndexError);
}

TEST_CASE("value: what can be a key") {
  Value v = Value::dict();
  v.set(Value::tuple({1, "a"}), 1);
  v.set(-3, 2);
  CHECK(v[Value::tuple({1, "a"})].as_int() == 1);
  CHECK(v[-3].as_int() == 2);
  CHECK(error_of([&] { v.set(Value::list({1}), 1); }) == "dict key: expects a number, text or tuple, got list");
}

TEST_CASE("value: prints as Python does") {
  CHECK(Value::list({0.1, 1e300, -0.0, 1e16, 3.0}).str() == "[0.1, 1e+300, -0.0, 1e+16, 3.0]");
  CHECK(Value::tuple({1}).str() == "(1,)");
  CHECK(Value("it's\n\x01").str() == "'it\\'s\\n\\x01'");
  CHECK(Value::bytes(std::string("\0\xff", 2)).str() == "b'\\x00\\xff'");
  CHECK(Value(Value::List(100000, Value(1))).str(100).size() < 130);
}

TEST_CASE("ordered dict: keeps order, replaces in place, erases") {
  OrderedDict<std::string, int> d{{"b", 1}, {"a", 2}, {"b", 3}};
  REQUIRE(d.size() == 2);
  CHECK(d.items()[0] == std::pair<std::string, int>("b", 3));
  d["c"] = 4;
  CHECK(d.erase("b"));
  CHECK_FALSE(d.erase("b"));
  CHECK(*d.find("c") == 4);
  CHECK(*d.find("a") == 2);
  CHECK(d.find("b") == nullptr);
}
