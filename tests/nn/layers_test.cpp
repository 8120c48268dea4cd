#include <cmath>

#include "core/error.h"
#include "core/ops/random.h"
#include "core/ops/statistics.h"
#include "core/thread_state.h"
#include "nn/nn.h"
#include "tests/catch.h"

using namespace weft;

namespace {

bool all_equal(const Tensor& t, double value) { return t.eq(value).all().item<bool>(); }
// Every value inside +- bound, and the deviation that of the uniform distribution.
void check_uniform(const Tensor& t, double bound) {
  CHECK(t.abs().amax().item<double>() <= bound);
  CHECK(t.std().item<double>() == Approx(bound / std::sqrt(3.0)).epsilon(0.05));
  CHECK(std::fabs(t.mean().item<double>()) < 0.05 * bound);
}
void check_normal(const Tensor& t, double mean, double std) {
  CHECK(std::fabs(t.mean().item<double>() - mean) < 0.05 * std);
  CHECK(t.std().item<double>() == Approx(std).epsilon(0.05));
}
template <class F>
std::string message(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}
bool fails_with(const std::string& text, const std::string& part) { return text.find(part) != text.npos; }

}  // namespace

TEST_CASE("default initialisation is PyTorch's") {
  manual_seed(1);
  nn::Linear linear{64, 2000};
  check_uniform(linear.weight, 1 / 8.0);
  check_uniform(linear.bias, 1 / 8.0);
  nn::Conv2d conv{16, 2000, 3, {.groups = 4}};
  check_uniform(conv.weight, 1 / std::sqrt(4 * 9.0));
  check_uniform(conv.bias, 1 / std::sqrt(4 * 9.0));
  nn::ConvTranspose1d transposed{200, 40, 5};
  check_uniform(transposed.weight, 1 / std::sqrt(40 * 5.0));
  nn::Embedding embedding{1000, 64, {.padding_idx = -1}};
  check_normal(embedding.weight, 0, 1);
  CHECK(all_equal(embedding.weight.select(0, 999), 0));
  nn::Bilinear bilinear{16, 20, 30};
  check_uniform(bilinear.weight, 1 / 4.0);
  nn::BatchNorm2d bn{4};
  CHECK(all_equal(bn.weight, 1));
  CHECK(all_equal(bn.running_var, 1));
  CHECK(all_equal(nn::LayerNorm{{4, 5}}.bias, 0));
  CHECK(all_equal(nn::PReLU{{.num_parameters = 3}}.weight, 0.25));
}

TEST_CASE("nn.init") {
  manual_seed(2);
  Tensor t = empty({200, 300});
  check_uniform(nn::init::xavier_uniform_(t, 2), 2 * std::sqrt(6.0 / 500));
  check_normal(nn::init::xavier_normal_(t), 0, std::sqrt(2.0 / 500));
  check_uniform(nn::init::kaiming_uniform_(t, {.mode = nn::init::FanMode::fan_out, .nonlinearity = "relu"}),
                std::sqrt(6.0 / 200));
  check_normal(nn::init::kaiming_normal_(t, {.nonlinearity = "tanh"}), 0, 5.0 / 3 / std::sqrt(300.0));
  check_normal(nn::init::normal_(t, 3, 2), 3, 2);
  nn::init::trunc_normal_(t, 0, 1, -1, 1);
  CHECK(t.abs().amax().item<double>() <= 1);
  CHECK(t.std().item<double>() == Approx(0.5396).epsilon(0.02));
  nn::init::trunc_normal_(t, 0, 1, 9, 10);
  CHECK(t.amin().item<double>() >= 9);
  nn::init::sparse_(t, 0.25);
  CHECK(all_equal(t.eq(0).sum({.dim = 0}), 50));
  Tensor tall = empty({40, 5, 4}, {.dtype = DType::f64});
  nn::init::orthogonal_(tall, 2);
  Tensor m = tall.view({40, 20});
  CHECK(m.t().matmul(m).allclose(eye(20, {}, {.dtype = DType::f64}) * 4));
  CHECK(nn::init::eye_(t).sum().item<double>() == 200);
  Tensor kernel = empty({4, 2, 3});
  nn::init::dirac_(kernel, 2);
  Tensor x = randn({1, 4, 7});
  CHECK(conv1d(x, kernel, {}, {.padding = 1, .groups = 2}).equal(x));
  CHECK(all_equal(nn::init::ones_(t), 1));
  CHECK(all_equal(nn::init::zeros_(t), 0));
  CHECK(nn::init::calculate_gain("leaky_relu", 0.2) == Approx(std::sqrt(2 / 1.04)));
  CHECK(fails_with(message([] { nn::init::calculate_gain("sine"); }), "unknown nonlinearity \"sine\""));
  Tensor line = empty({3});
  CHECK(fails_with(message([&] { nn::init::xavier_uniform_(line); }), "at least 2 dimensions"));
  CHECK(fails_with(message([&] { nn::init::orthogonal_(line); }), "at least 2 dimensions"));

  Generator a(5), b(5);
  Tensor u = empty({10}), v = empty({10});
  CHECK(nn::init::normal_(u, 0, 1, &a).equal(nn::init::normal_(v, 0, 1, &b)));
}

TEST_CASE("batch norm keeps running statistics in training only") {
  nn::BatchNorm1d bn{2, {.momentum = std::nullopt}};
  const Tensor x = tensor({1.0, 2, 3, 6}).view({2, 2}).to(DType::f32);
  bn(x);
  bn(x + 2);
  CHECK(bn.num_batches_tracked.item<int64_t>() == 2);
  CHECK(bn.running_mean.allclose(tensor({3.0, 5.0}).to(DType::f32)));
  bn.eval();
  Tensor before = bn.running_mean.clone();
  bn(x * 100);
  CHECK(bn.running_mean.equal(before));
  CHECK(bn.num_batches_tracked.item<int64_t>() == 2);
  bn.reset_running_stats();
  CHECK(all_equal(bn.running_mean, 0));
  CHECK(fails_with(message([&] { bn(ones({2, 3})); }), "has 3 channels, the layer 2"));
  CHECK(fails_with(message([] { nn::BatchNorm2d{2}(ones({2, 2})); }), "must have 4 dimensions"));
}

TEST_CASE("dropout follows train and eval") {
  nn::Dropout drop{0.5};
  const Tensor x = ones({1000});
  CHECK_FALSE(drop(x).equal(x));
  drop.eval();
  CHECK(drop(x).equal(x));
  CHECK(fails_with(message([] { nn::Dropout{1.5}; }), "a probability lies in [0, 1]"));
}

TEST_CASE("embedding with max_norm scales the rows it uses") {
  nn::Embedding e{4, 3, {.max_norm = 1.0}};
  {
    NoGrad guard;
    e.weight.fill_(10);
  }
  Tensor y = e(tensor(std::vector<int64_t>{1, 1, 3}));
  CHECK(norm(y, 2, {.dim = 1}).allclose(ones({3}), 1e-4));
  CHECK(all_equal(e.weight.select(0, 0), 10));
  CHECK(fails_with(message([] { nn::Embedding{4, 3, {.padding_idx = 4}}; }), "padding_idx 4 is out of range"));
  nn::Embedding fixed = nn::Embedding::from_pretrained(ones({2, 2}));
  CHECK_FALSE(fixed.weight.requires_grad());
  CHECK(fixed.parameters()[0].is_same(fixed.weight));
}

TEST_CASE("convolution layers and their padding modes") {
  manual_seed(3);
  nn::Conv1d conv{1, 1, 3, {.padding = "same", .padding_mode = "circular"}};
  const Tensor x = randn({1, 1, 6});
  Tensor wrapped = pad(x, {1, 1}, "circular");
  CHECK(conv(x).equal(conv1d(wrapped, conv.weight, conv.bias)));
  CHECK(fails_with(message([] { nn::Conv2d{3, 4, 3, {.groups = 2}}; }), "2 groups have to divide"));
  CHECK(fails_with(message([] {
                     nn::Conv2d{3, 4, 3, {.padding_mode = "mirror"}};
                   }),
                   "unknown padding_mode \"mirror\""));
  std::string mode = "same";
  nn::Conv1d kept{1, 1, 3, {.padding = std::string_view(mode)}};
  mode = "xxxx";
  CHECK(kept(x).sizes() == x.sizes());
}

TEST_CASE("losses with class weights keep them as buffers") {
  nn::CrossEntropyLoss loss{{.weight = tensor({1.0, 2.0, 0.5}).to(DType::f32), .label_smoothing = 0.1}};
  CHECK(loss.state_dict().contains("weight"));
  CHECK(loss.parameters().empty());
  const Tensor x = randn({4, 3});
  const Tensor y = tensor(std::vector<int64_t>{0, 1, 2, 1});
  CHECK(loss(x, y).equal(cross_entropy(x, y, {.weight = loss.weight, .label_smoothing = 0.1})));
  CHECK(nn::MSELoss{{.reduction = "sum"}}(x, x + 1).item<double>() == Approx(12));
}

TEST_CASE("clipping gradients") {
  Tensor a = zeros({3}, {.requires_grad = true}), b = zeros({4}, {.requires_grad = true}),
         unused = zeros({1}, {.requires_grad = true});
  a.set_grad(full({3}, 2.0));
  b.set_grad(full({4}, -1.0));
  const std::vector<Tensor> all{a, b, unused};
  CHECK(nn::utils::clip_grad_norm_(all, 2.0).item<double>() == Approx(4));
  CHECK(a.grad().allclose(full({3}, 1.0)));
  CHECK(nn::utils::clip_grad_norm_(all, 10.0).item<double>() == Approx(2));
  CHECK(a.grad().allclose(full({3}, 1.0)));
  CHECK(nn::utils::get_total_norm({a.grad(), b.grad()}, INFINITY).item<double>() == Approx(1));
  nn::utils::clip_grad_value_(all, 0.25);
  CHECK(a.grad().allclose(full({3}, 0.25)));
  CHECK(b.grad().allclose(full({4}, -0.25)));
  CHECK(nn::utils::get_total_norm({}).item<double>() == 0);
  a.set_grad(full({3}, INFINITY));
  CHECK(fails_with(message([&] { nn::utils::clip_grad_norm_(all, 1.0, {.error_if_nonfinite = true}); }),
                   "look for inf or NaN"));
  CHECK(nn::utils::parameters_to_vector(all).sizes() == Dims{8});
  nn::utils::vector_to_parameters(arange(8).to(DType::f32), all);
  CHECK(b.select(0, 0).item<double>() == 3);
  CHECK(fails_with(message([&] { nn::utils::vector_to_parameters(ones({7}), all); }), "8 elements together"));
}
