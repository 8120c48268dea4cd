
#include "core/cuda.h"
#include "tests/catch.h"
#include "tests/same_bits.h"
#include "weft.h"
#if defined(WEFT_CUDA_EMULATE)
#include "kernels/cuda/launch.h"
#endif

// softmax, norms, losses over classes and dropout against the CPU: the same bits wherever the order of the additions is
// promised to be the same.
namespace {

using namespace weft;

double distance(const Tensor& a, const Tensor& b) {
  const Tensor x = a.detach().to(DType::f64), y = b.detach().to("cpu").to(DType::f64);
  const double scale = x.abs().max().item<double>();
  return x.sub(y).abs().max().item<double>() / (scale > 0 ? scale : 1);
}
double tolerance(DType t) { return t == DType::f64 ? 1e-13 : t == DType::f32 ? 3e-6 : t == DType::f16 ? 2e-3 : 1.6e-2; }

Tensor numbers(const Dims& sizes, DType dtype, double factor = 1) { return randn(sizes).mul(factor).to(dtype); }

using Op = std::function<Tensor(const std::vector<Tensor>&)>;
// Value and gradients on both devices; `exact`: how many of the gradients have the same bits.
void compare(const Op& op, const std::vector<Tensor>& inputs, size_t exact, bool exact_value = true) {
  std::vector<Tensor> results[2];
  Tensor seed;
  for (int device = 0; device < 2; ++device) {
    std::vector<Tensor> in;
    for (const Tensor& t : inputs) {
      Tensor here = device ? t.detach().to("cuda") : t.detach().clone();
      if (is_floating(here.dtype())) here.set_requires_grad(true);
      in.push_back(here);
    }
    Tensor y = op(in);
    if (!seed.defined()) seed = numbers(y.sizes(), y.dtype());
    std::vector<Tensor> wanted;
    for (const Tensor& t : in)
      if (t.requires_grad()) wanted.push_back(t);
    results[device] = {y};
    for (const Tensor& g : grad({y}, wanted, {.grad_outputs = {device ? seed.to("cuda") : seed}}))
      results[device].push_back(g);
  }
  for (size_t k = 0; k < results[0].size(); ++k) {
    const Tensor &a = results[0][k], &b = results[1][k];
    INFO("result " << k);
    if (k == 0 ? exact_value : k <= exact)
      CHECK(same_bits(a, b));
    else
      CHECK(distance(a, b) <= tolerance(a.dtype()));
  }
}

template <class F>
void everywhere(F f) {
  if (!cuda::is_available()) {
    WARN("no device: " << cuda::why_unavailable());
    return;
  }
  manual_seed(7);
  f();
#if defined(WEFT_CUDA_EMULATE)
  gpu::emulate::settings().seed = 3;
  f();
  gpu::emulate::settings().seed = 0;
#endif
}

constexpr DType kFloats[] = {DType::f32, DType::f64, DType::bf16, DType::f16};
constexpr int64_t kLengths[] = {1, 7, 33, 64, 100, 252, 256, 259, 512, 600, 1000, 1024, 1025, 1026, 2048, 3000, 8192};

TEST_CASE("softmax along rows has the bits of the CPU") {
  everywhere([] {
    for (DType t : kFloats)
      for (int64_t n : kLengths) {
        INFO(name(t) << " " << n);
        const Tensor x = numbers({n > 500 ? 2 : 19, n}, t, 3);
        compare([](const auto& in) { return softmax(in[0], -1); }, {x}, 1);
        compare([](const auto& in) { return log_softmax(in[0], -1); }, {x}, 1);
      }
  });
}

TEST_CASE("softmax of long rows, columns, strange values and other dtypes") {
  everywhere([] {
    for (DType t : {DType::f32, DType::bf16}) {
      compare([](const auto& in) { return softmax(in[0], -1); }, {numbers({1, 33001}, t)}, 1);
      compare([](const auto& in) { return log_softmax(in[0], 0); }, {numbers({40000}, t)}, 1);
      for (int64_t n : {1, 5, 40, 1030}) {
        compare([](const auto& in) { return softmax(in[0], 1); }, {numbers({2, n, 37}, t)}, 1);
        compare([](const auto& in) { return log_softmax(in[0], 0); }, {numbers({n, 3}, t)}, 1);
      }
    }
    Tensor x = numbers({4, 100}, DType::f32, 60);
    x[0].fill_(-INFINITY);
    x[1][3].fill_(-INFINITY);
    x[2][5].fill_(NAN);
    const Tensor a = softmax(x, 1), b = softmax(x.to("cuda"), 1).to("cpu");
    CHECK(a.isnan().eq(b.isnan()).all().item<bool>());
    CHECK(same_bits(nan_to_num(a), nan_to_num(b)));
    // Results that are denormals: rounded once.
    for (int64_t n : {1000, 40000}) {
      const Tensor deep = cat({linspace(-104, -85, n), zeros({24})}).unsqueeze(0);
      CHECK(same_bits(softmax(deep, 1), softmax(deep.to("cuda"), 1)));
      CHECK(same_bits(softmax(deep.t(), 0), softmax(deep.t().contiguous().to("cuda"), 0)));
    }
    for (DType from : kFloats)
      for (DType to : kFloats) {
        const Tensor y = numbers({5, 20}, from);
        CHECK(same_bits(softmax(y, 1, to), softmax(y.to("cuda"), 1, to)));
      }
  });
}

TEST_CASE("norms of rows") {
  everywhere([] {
    for (DType t : kFloats)
      for (int64_t n : kLengths) {
        INFO(name(t) << " " << n);
        const Tensor x = numbers({n > 500 ? 5 : 70, n}, t), w = numbers({n}, t), b = numbers({n}, t);
        compare([n](const auto& in) { return layer_norm(in[0], {n}, {.weight = in[1], .bias = in[2]}); }, {x, w, b}, 1);
        compare([n](const auto& in) { return rms_norm(in[0], {n}, {.weight = in[1]}); }, {x, w}, 1);
        compare([n](const auto& in) { return layer_norm(in[0], {n}, {}); }, {x}, 1);
      }
    const int64_t n = 33000;
    const Tensor x = numbers({20, n}, DType::f32), w = numbers({n}, DType::f32), b = numbers({n}, DType::f32);
    compare([n](const auto& in) { return layer_norm(in[0], {n}, {.weight = in[1], .bias = in[2]}); }, {x, w, b}, 1);
  });
}

TEST_CASE("norms of groups") {
  everywhere([] {
    for (DType t : kFloats)
      for (const Dims& sizes :
           {Dims{3, 8}, Dims{2, 8, 5}, Dims{2, 4, 8, 8}, Dims{1, 4, 40, 40}, Dims{2, 2, 170, 170}}) {
        const Tensor x = numbers(sizes, t), w = numbers({sizes[1]}, t), b = numbers({sizes[1]}, t);
        for (int64_t groups : {1, 2})
          compare([=](const auto& in) { return group_norm(in[0], groups, {.weight = in[1], .bias = in[2]}); },
                  {x, w, b}, 1);
      }
  });
}

TEST_CASE("cross entropy") {
  everywhere([] {
    for (DType t : kFloats)
      for (int64_t n : {1, 10, 48, 64, 1000, 1500, 50257}) {
        INFO(name(t) << " " << n);
        const int64_t rows = n > 5000 ? 2 : 9;
        Tensor target = randint(0, n, {rows});
        const Tensor x = numbers({rows, n}, t, 2), w = rand({n}).to(t);
        for (Reduction r : {Reduction::none, Reduction::mean, Reduction::sum})
          for (double smoothing : {0.0, 0.1}) {
            const auto loss = [&](const Tensor& in, const Tensor& weight) {
              return cross_entropy(in, target.to(in.device()),
                                   {.weight = weight.defined() ? weight.detach() : weight,
                                    .ignore_index = n > 1 ? 0 : -100,
                                    .reduction = r,
                                    .label_smoothing = smoothing});
            };
            compare([&](const auto& in) { return loss(in[0], w.to(in[0].device())); }, {x}, 1);
            if (n > 1) compare([&](const auto& in) { return loss(in[0], Tensor()); }, {x}, 1);
          }
        compare([&](const auto& in) { return nll_loss(in[0], target.to(in[0].device())); }, {x}, 1);
      }
    const Tensor image = numbers({2, 5, 9, 11}, DType::f32), classes = randint(0, 5, {2, 9, 11});
    compare([&](const auto& in) { return cross_entropy(in[0], classes.to(in[0].device())); }, {image}, 1);
    const Tensor many = numbers({3000, 4}, DType::f32), of_many = randint(0, 4, {3000});
    compare([&](const auto& in) { return cross_entropy(in[0], of_many.to(in[0].device())); }, {many}, 1);
  });
}

TEST_CASE("a class that does not exist is an error") {
  everywhere([] {
    const Tensor x = numbers({3, 4}, DType::f32).to("cuda"), target = full({3}, 4).to(DType::i64).to("cuda");
    CHECK_THROWS_AS([&] { return cross_entropy(x, target).item<float>(); }(), IndexError);
  });
}

TEST_CASE("batch norm") {
  everywhere([] {
    for (DType t : kFloats)
      for (const Dims& sizes : {Dims{6, 5}, Dims{300, 40}, Dims{3, 5, 7, 7}, Dims{2, 3, 8, 8}, Dims{1, 2, 150, 150}})
        for (bool last : {false, true})
          for (bool training : {false, true}) {
            if (last && sizes.size() != 4) continue;
            INFO(name(t) << " " << sizes.size() << " " << last << " " << training);
            Tensor x = numbers(sizes, t).add(2);
            const Tensor w = numbers({sizes[1]}, t), b = numbers({sizes[1]}, t);
            Tensor running[2];
            compare(
                [&](const auto& in) {
                  Tensor mean = zeros({sizes[1]}, {.dtype = DType::f64}).add(0.5).to(t).to(in[0].device()),
                         var = ones({sizes[1]}, {.dtype = DType::f64}).mul(1.5).to(t).to(in[0].device());
                  const Tensor at = last ? in[0].contiguous(MemoryFormat::channels_last) : in[0];
                  Tensor y = batch_norm(at, mean, var, {.weight = in[1], .bias = in[2], .training = training});
                  if (running[0].defined()) {
                    CHECK(distance(running[0], mean) <= tolerance(t));
                    CHECK(distance(running[1], var) <= tolerance(t));
                  }
                  running[0] = mean, running[1] = var;
                  return y;
                },
                {x, w, b}, 0, false);
          }
  });
}

TEST_CASE("dropout draws the numbers of the CPU") {
  everywhere([] {
    for (DType t : kFloats)
      for (int64_t n : {1, 3, 64, 100, 1024, 5000}) {
        const Tensor x = numbers({n}, t);
        compare(
            [](const auto& in) {
              manual_seed(5);
              return dropout(in[0], 0.3);
            },
            {x}, 1);
      }
  });
}

}  // namespace
