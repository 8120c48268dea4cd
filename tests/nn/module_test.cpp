#include "nn/module.h"

#include "core/error.h"
#include "core/ops/pointwise_api.h"
#include "core/thread_state.h"
#include "nn/nn.h"
#include "tests/catch.h"

using namespace weft;

namespace {

struct Mlp : nn::Module {
  nn::Linear up{*this, "up", 3, 8}, down{*this, "down", 8, 2, {.bias = false}};
  nn::Buffer steps{*this, "steps", zeros({})};
  nn::Buffer scratch{*this, "scratch", zeros({4}), false};
  Tensor operator()(const Tensor& x) { return down(relu(up(x))); }
};
struct Net : nn::Layer<Net> {
  nn::Child<Mlp> body{*this, "body"};
  nn::ModuleList<Mlp> list{*this, "list"};
  nn::Sequential tail{*this, "tail", nn::Linear{2, 2}, nn::ReLU{}, nn::Dropout{0.5}};
  nn::Parameter scale{*this, "scale", ones({2})};
  Tensor forward(const Tensor& x) {
    Tensor y = body(x);
    for (Mlp& m : list) y = y + m(x);
    return tail(y) * scale;
  }
};

using Names = std::vector<std::string>;
Names names(const StateDict& d) {
  Names out;
  for (const auto& [name, t] : d) out.push_back(name);
  return out;
}
Names names(const std::vector<nn::NamedTensor>& d) {
  Names out;
  for (const auto& n : d) out.push_back(n.name);
  return out;
}
std::string message(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}
bool contains(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }
bool all_equal(const Tensor& t, double value) { return t.eq(value).all().item<bool>(); }
Net make_net() {
  Net net;
  net.list.emplace_back();
  net.list.emplace_back();
  return net;
}

}  // namespace

TEST_CASE("members register by name") {
  Mlp m;
  CHECK(names(m.named_parameters()) == Names{"up.weight", "up.bias", "down.weight"});
  CHECK(names(m.named_buffers()) == Names{"steps", "scratch"});
  CHECK(names(m.state_dict()) == Names{"steps", "up.weight", "up.bias", "down.weight"});
  CHECK(m.parameters().size() == 3);
  Net net = make_net();
  Names modules;
  for (const nn::NamedModule& n : net.named_modules()) modules.push_back(n.name);
  CHECK(modules == Names{"", "body", "body.up", "body.down", "list", "list.0", "list.0.up", "list.0.down", "list.1",
                         "list.1.up", "list.1.down", "tail", "tail.0", "tail.1", "tail.2"});
  CHECK(net.named_children().size() == 3);
  CHECK(&net.get_submodule("list.1.up") == &net.list[1].up);
  CHECK(net.get_parameter("list.0.up.bias").is_same(net.list[0].up.bias));
  CHECK_THROWS_AS(net.get_submodule("list.7"), IndexError);
  CHECK_THROWS_AS(net.get_parameter("list.0.up.b"), IndexError);
}

TEST_CASE("what cannot be registered") {
  struct Twice : nn::Module {
    nn::Linear a{*this, "a", 1, 1}, b{*this, "a", 1, 1};
  };
  CHECK(contains(message([] { Twice t; }), "Twice: two members are named \"a\""));
  struct Dotted : nn::Module {
    nn::Linear a{*this, "a.b", 1, 1};
  };
  CHECK(contains(message([] { Dotted t; }), "holds a dot"));
  struct Nameless : nn::Module {
    nn::Linear a{*this, "", 1, 1};
  };
  CHECK(contains(message([] { Nameless t; }), "needs a name"));
  static nn::Linear elsewhere{1, 1};
  Mlp m;
  CHECK(contains(message([&] { m.register_module("x", elsewhere); }), "is not a member of this module"));
}

TEST_CASE("copies and moves are values over shared parameters") {
  Net net = make_net();
  const Tensor x = ones({5, 3});
  net.eval();
  const Tensor y = net(x);
  Net copy = net;
  CHECK(copy(x).equal(y));
  CHECK(copy.list[1].up.weight.is_same(net.list[1].up.weight));
  CHECK(&copy.get_submodule("list.1.up") == &copy.list[1].up);
  CHECK(&copy.get_submodule("tail.0") != &net.get_submodule("tail.0"));

  std::vector<Net> nets;
  for (int i = 0; i < 5; ++i) nets.push_back(i == 0 ? std::move(copy) : make_net());
  CHECK(nets[0](x).equal(y));
  CHECK(names(nets[0].state_dict()) == names(net.state_dict()));
  Net assigned;
  assigned = net;
  CHECK(assigned(x).equal(y));
  assigned = std::move(nets[0]);
  CHECK(assigned(x).equal(y));
  CHECK(&assigned.get_submodule("body.down") == &assigned.body.down);
  auto held = std::make_unique<Net>(assigned);
  nets.clear();
  CHECK((*held)(x).equal(y));
  Net back = [&] { return *held; }();
  held.reset();
  CHECK(back(x).equal(y));
}

TEST_CASE("clone has its own tensors and keeps ties") {
  Net net = make_net();
  net.list[1].up.weight = net.list[0].up.weight;
  CHECK(net.parameters().size() == 3 * 3 + 2 + 1 - 1);
  Net copy = clone(net);
  CHECK(copy.list[1].up.weight.is_same(copy.list[0].up.weight));
  CHECK_FALSE(copy.list[0].up.weight.shares_storage_with(net.list[0].up.weight));
  CHECK(copy.list[0].up.weight.equal(net.list[0].up.weight));
  CHECK(copy.list[0].up.weight.requires_grad());
  CHECK(copy.list[0].up.weight.is_leaf());
  {
    NoGrad guard;
    copy.list[0].up.weight.fill_(7);
  }
  CHECK(all_equal(copy.list[1].up.weight, 7));
  CHECK_FALSE(all_equal(net.list[0].up.weight, 7));
  CHECK(names(copy.state_dict()) == names(net.state_dict()));
}

TEST_CASE("one module under two names") {
  struct Shared : nn::Module {
    nn::Linear a{*this, "a", 2, 2};
    Shared() { register_module("b", a); }
  };
  Shared s;
  CHECK(names(s.state_dict()) == Names{"a.weight", "a.bias", "b.weight", "b.bias"});
  CHECK(s.parameters().size() == 2);
  CHECK(s.named_modules().size() == 2);
  Shared t = clone(s);
  CHECK(&t.get_submodule("b") == &t.a);
  CHECK(t.get_parameter("b.bias").is_same(t.a.bias));
}

TEST_CASE("state_dict and load_state_dict") {
  Mlp m, other;
  StateDict state = other.state_dict();
  CHECK_FALSE(state.find("up.weight")->requires_grad());
  CHECK(state.find("up.weight")->shares_storage_with(other.up.weight));
  Tensor before = m.up.weight;
  m.load_state_dict(state);
  CHECK(m.up.weight.is_same(before));
  CHECK(m.up.weight.equal(other.up.weight));
  CHECK(m.up.weight.requires_grad());

  StateDict half;
  for (const auto& [name, t] : state) half.set(name, t.to(DType::bf16));
  m.load_state_dict(half);
  CHECK(m.up.weight.dtype() == DType::f32);

  StateDict bad{{"up.weight", ones({3, 8})}, {"up.bias", ones({8})}, {"steps", zeros({})}, {"head.weight", ones({2})}};
  CHECK(message([&] { m.load_state_dict(bad); }) ==
        "load_state_dict: the state does not fit Mlp; nothing was loaded:\n  shape: up.weight is [8, 3] here, [3, 8] "
        "in the state\n"
        "  missing: down.weight [2, 8]\n  unexpected: head.weight [2]");
  CHECK_FALSE(all_equal(m.up.bias, 1));
  CHECK(contains(message([&] { m.load_state_dict(bad, {.strict = false}); }), "shape: up.weight"));
  bad.set("up.weight", ones({8, 3}));
  nn::IncompatibleKeys keys = m.load_state_dict(bad, {.strict = false});
  CHECK(keys.missing == Names{"down.weight"});
  CHECK(keys.unexpected == Names{"head.weight"});
  CHECK(all_equal(m.up.bias, 1));

  // A new head: what does not fit stays, and the report names it.
  bad.set("up.weight", ones({3, 8}));
  bad.set("up.bias", full({8}, 2));
  CHECK(contains(message([&] { m.load_state_dict(bad, {.ignore_mismatched = true}); }), "missing: down.weight [2, 8]"));
  keys = m.load_state_dict(bad, {.strict = false, .ignore_mismatched = true});
  CHECK(keys.mismatched == Names{"up.weight"});
  CHECK(keys.str() == "missing: down.weight\nunexpected: head.weight\nmismatched: up.weight");
  CHECK(all_equal(m.up.weight, 1));
  CHECK(all_equal(m.up.bias, 2));
  CHECK(m.load_state_dict(other.state_dict()).empty());
}

TEST_CASE("train, eval, apply, zero_grad, requires_grad_") {
  Net net = make_net();
  CHECK(net.tail.get<nn::Dropout>(2).is_training());
  net.eval();
  CHECK_FALSE(net.tail.get<nn::Dropout>(2).is_training());
  CHECK_FALSE(net.list[1].down.is_training());
  net.train();
  CHECK(net.list[1].down.is_training());
  Names order;
  net.tail.apply([&](nn::Module& m) { order.push_back(m.type_name()); });
  CHECK(order == Names{"Linear", "ReLU", "Dropout", "Sequential"});

  net(ones({2, 3})).sum().backward();
  CHECK(net.body.up.weight.grad().defined());
  net.zero_grad(false);
  CHECK(all_equal(net.body.up.weight.grad(), 0));
  net.zero_grad();
  CHECK_FALSE(net.body.up.weight.grad().defined());
  net.requires_grad_(false);
  CHECK_FALSE(net(ones({2, 3})).requires_grad());
}

TEST_CASE("to converts in place") {
  Mlp m;
  Tensor held = m.up.weight;
  m(ones({1, 3})).sum().backward();
  m.to(DType::f64);
  CHECK(held.dtype() == DType::f64);
  CHECK(held.grad().dtype() == DType::f64);
  CHECK(held.requires_grad());
  CHECK(m.up.weight.is_same(held));
  CHECK(m(ones({1, 3}, {.dtype = DType::f64})).dtype() == DType::f64);
  CHECK_THROWS_AS(m.to(DType::i64), TypeError);
  nn::BatchNorm2d bn{3};
  bn.to(DType::bf16);
  CHECK(bn.running_mean.dtype() == DType::bf16);
  CHECK(bn.num_batches_tracked.dtype() == DType::i64);
  nn::Conv2d conv{3, 4, 3};
  conv.to(MemoryFormat::channels_last);
  CHECK(conv.weight.is_contiguous(MemoryFormat::channels_last));
}

TEST_CASE("hooks") {
  nn::Linear layer{2, 2};
  const Tensor x = ones({1, 2}), y = layer(x);
  int calls = 0;
  const int64_t before = layer.register_forward_pre_hook([&](nn::Module& m, const Tensor& input) {
    ++calls;
    CHECK(&m == &layer);
    return input * 2;
  });
  const int64_t after = layer.register_forward_hook([&](nn::Module&, const Tensor& input, const Tensor& output) {
    ++calls;
    CHECK(input.equal(x * 2));
    CHECK(output.equal(layer.forward(x * 2)));
    return Tensor();
  });
  layer(x);
  CHECK(calls == 2);
  nn::Linear copy = layer;
  layer.remove_hook(before);
  layer.remove_hook(after);
  CHECK(layer(x).equal(y));
  CHECK(calls == 2);

  copy.remove_hook(before);
  copy.remove_hook(after);
  copy.register_forward_hook([](nn::Module&, const Tensor&, const Tensor& output) { return output * 0; });
  nn::Sequential chain{copy};
  chain[0].module().register_forward_hook([](nn::Module&, const Tensor&, const Tensor& output) { return output + 3; });
  CHECK(all_equal(chain(x), 3));
  CHECK(all_equal(copy(x), 0));
}

TEST_CASE("parameters take plain tensors as torch.nn.Parameter does") {
  Mlp m;
  m.up.weight = zeros({8, 3});
  CHECK(m.up.weight.requires_grad());
  CHECK(m.parameters()[0].is_same(m.up.weight));
  m.steps = ones({});
  CHECK(all_equal(m.named_buffers()[0].tensor, 1));
  nn::Linear no_bias{2, 2, {.bias = false}};
  CHECK_FALSE(no_bias.bias.defined());
  CHECK(no_bias.parameters().size() == 1);
}

TEST_CASE("containers") {
  nn::Sequential s{nn::Linear{3, 4}, nn::ReLU{}};
  CHECK(s.size() == 2);
  CHECK(s(ones({2, 3})).sizes() == Dims{2, 4});
  nn::Sequential copy = s;
  CHECK(copy.get<nn::Linear>(0).weight.is_same(s.get<nn::Linear>(0).weight));
  CHECK(&copy.get<nn::Linear>(0) != &s.get<nn::Linear>(0));
  CHECK_THROWS_AS(s.get<nn::Linear>(1), TypeError);
  CHECK_THROWS_AS(s[2], IndexError);
  CHECK(s[-1].module().type_name() == "ReLU");
  s.push_back("last", nn::Linear{4, 1});
  CHECK(names(s.state_dict()) == Names{"0.weight", "0.bias", "last.weight", "last.bias"});
  CHECK_THROWS_AS(s.push_back("last", nn::ReLU{}), IndexError);
  CHECK_THROWS_AS(s.push_back("a.b", nn::ReLU{}), Error);
  nn::Sequential nested{s, nn::Sequential{nn::Linear{1, 2}}};
  CHECK(nested(ones({1, 3})).sizes() == Dims{1, 2});
  CHECK(nested.state_dict().contains("1.0.weight"));
  nn::Sequential user{Mlp{}};
  CHECK(user(ones({1, 3})).sizes() == Dims{1, 2});

  struct Heads : nn::Module {
    nn::ModuleDict<nn::Linear> heads{*this, "heads"};
    nn::ModuleList<> mixed{*this, "mixed"};
    nn::ParameterList extra{*this, "extra"};
  };
  Heads h;
  h.heads.insert("a", nn::Linear{2, 2, {.bias = false}});
  h.mixed.push_back(nn::ReLU{});
  h.mixed.push_back(nn::Linear{1, 1});
  h.extra.push_back(ones({2}));
  CHECK(names(h.state_dict()) == Names{"heads.a.weight", "mixed.1.weight", "mixed.1.bias", "extra.0"});
  CHECK(h.extra[0].requires_grad());
  CHECK_THROWS_AS(h.heads["b"], IndexError);
  CHECK_THROWS_AS(h.heads.insert("a", nn::Linear{2, 2}), IndexError);
  CHECK_THROWS_AS(h.mixed[2], IndexError);
}

TEST_CASE("printing") {
  nn::Sequential s{nn::Linear{3, 4}, nn::Sequential{nn::ReLU{}, nn::Conv2d{3, 8, 3, {.stride = 2, .padding = 1}}}};
  CHECK(s.str() ==
        "Sequential(\n  (0): Linear(in_features=3, out_features=4, bias=True)\n  (1): Sequential(\n    (0): ReLU()\n"
        "    (1): Conv2d(3, 8, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1))\n  )\n)");
}
