#include "core/ops/index.h"
#include "core/error.h"

#include <cstring>
#include <functional>
#include <limits>

#include "core/cuda.h"
#include "core/ops/copy.h"
#include "core/ops/embedding.h"
#include "core/ops/gather.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/random.h"
#include "core/ops/shape.h"
#include "core/ops/sort.h"
#include "core/ops/view.h"
#include "tests/catch.h"
#if defined(WEFT_CUDA_EMULATE)
#include "kernels/cuda/launch.h"
#endif

using namespace weft;

namespace {

bool same_bits(const Tensor& a, const Tensor& given) {
  const Tensor b = given.to(Device("cpu")).contiguous(), c = a.contiguous();
  return given.device().is_cuda() && c.sizes() == b.sizes() && c.dtype() == b.dtype() &&
         (c.numel() == 0 || std::memcmp(c.data_ptr(), b.data_ptr(), c.nbytes()) == 0);
}

using Many = std::vector<Tensor>;
// f of the tensors on the host and on the device.
void compare(const char* what, const Many& in, const std::function<Many(const Many&)>& f) {
  Many there;
  for (const Tensor& t : in) there.push_back(t.to(Device("cuda")));
  const Many want = f(in), got = f(there);
  REQUIRE(want.size() == got.size());
  for (size_t i = 0; i < want.size(); ++i) {
    INFO(what << ", result " << i << ", " << want[i].numel() << " elements, dtype " << int(want[i].dtype()));
    CHECK(same_bits(want[i], got[i]));
  }
}

Tensor values(const Dims& sizes, DType dtype = DType::f32) {
  Tensor x = empty(sizes, {.dtype = DType::f32}).normal_();
  return (is_floating(dtype) ? x : round(x * 3)).to(dtype);
}
Tensor indices(const Dims& sizes, int64_t below) {
  return floor(empty(sizes, {.dtype = DType::f64}).uniform_(0, 1) * double(below)).to(DType::i64);
}

constexpr auto kAll = {DType::f32, DType::f64, DType::bf16, DType::f16,  DType::i64,
                       DType::i32, DType::i16, DType::i8,   DType::bool_};

struct Seeds {
  template <class F>
  static void each(F f) {
#if defined(WEFT_CUDA_EMULATE)
    for (uint64_t seed : {0, 7}) {
      gpu::emulate::settings().seed = seed;
      f();
    }
    gpu::emulate::settings().seed = 0;
#else
    f();
#endif
  }
};

}  // namespace

TEST_CASE("cuda: elements and rows are taken by index") {
  if (!cuda::is_available()) return;
  for (DType t : kAll) {
    compare("rows", {values({50, 48}, t), indices({33}, 40)}, [](const Many& x) {
      return Many{index_select(x[0], 0, x[1]),     index_select(x[0], 1, x[1]),
                  index_select(x[0].t(), 0, x[1]), take(x[0], x[1]),
                  x[0].index({x[1], x[1]}),        x[0].index({Slice(1, 40, 2), x[1]})};
    });
    compare("odd", {values({7, 5, 13}, t), indices({3, 4}, 5)}, [](const Many& x) {
      return Many{x[0].index({Slice(), x[1]}), x[0].index({x[1], x[1], x[1]}), x[0].transpose(0, 2).index({x[1]})};
    });
    compare("gather", {values({9, 11, 70}, t), indices({9, 4, 70}, 9)}, [](const Many& x) {
      return Many{gather(x[0], 0, x[1]), gather(x[0], 1, x[1]), gather(x[0], 2, x[1].to(DType::i32)),
                  gather(x[0].transpose(0, 1), 0, x[1].transpose(0, 1).narrow(2, 3, 60))};
    });
  }
}

TEST_CASE("cuda: of equal indices the last wins") {
  if (!cuda::is_available()) return;
  Seeds::each([] {
    for (DType t : {DType::f32, DType::bf16, DType::i8, DType::f64}) {
      compare("put", {values({20, 16}, t), indices({70}, 20), values({70, 16}, t), values({70}, t)}, [](const Many& x) {
        Tensor a = x[0].clone(), b = x[0].clone(), c = x[0].t().contiguous().t(), d = x[0].clone();
        a.index_put_({x[1]}, x[2]);
        b.index_put_({x[1], 3}, x[3]);
        c.index_put_({x[1]}, x[2]);
        d.index_put_({x[1]}, 2);
        return Many{a, b, c, d, index_copy(x[0], 0, x[1], x[2]), index_copy(x[0].t(), 1, x[1], x[2].t())};
      });
      compare("scatter", {values({30, 40}, t), indices({25, 90}, 30), values({25, 90}, t)}, [](const Many& x) {
        const Tensor i = x[1].narrow(1, 0, 40), v = x[2].narrow(1, 0, 40);
        return Many{scatter(x[0], 0, i, v), scatter(x[0], 1, x[1], x[2]), scatter(x[0], 1, x[1], 3),
                    scatter(x[0].t(), 0, x[1].t(), x[2].t())};
      });
    }
  });
}

TEST_CASE("cuda: sums at indices come in the order of the CPU") {
  if (!cuda::is_available()) return;
  Seeds::each([] {
    for (DType t : kAll) {
      compare("index_add", {values({20, 16}, t), indices({170}, 20), values({170, 16}, t), values({170}, t)},
              [](const Many& x) {
                Tensor a = x[0].clone(), b = x[0].clone(), c = x[0].t().contiguous().t(), d = x[0].clone();
                a.index_put_({x[1]}, x[2], true);
                b.index_put_({x[1], 3}, x[3], true);
                c.index_put_({x[1]}, x[2].narrow(0, 0, 1), true);
                d.narrow(1, 1, 13).index_put_({x[1]}, x[2].narrow(1, 2, 13), true);
                return Many{a, b, c, d, index_add(x[0], 0, x[1], x[2], 2), index_add(x[0].t(), 1, x[1], x[2].t())};
              });
      compare("scatter_add", {values({30, 300}, t), indices({25, 300}, 30), values({25, 300}, t)}, [](const Many& x) {
        return Many{scatter_add(x[0], 0, x[1], x[2]), scatter_add(x[0], 1, x[1], x[2]),
                    scatter(x[0], 1, x[1], x[2], "multiply"), scatter_add(x[0].t(), 0, x[1].t(), x[2].t()),
                    scatter_add(x[0].reshape({-1}), 0, x[1].reshape({-1}), x[2].reshape({-1}))};
      });
    }
    compare("embedding", {indices({4, 100}, 60), values({60, 24}), values({4, 100, 24})}, [](const Many& x) {
      Many out;
      for (Tensor weight : {x[1].clone(), x[1].to(DType::bf16)}) {
        weight.set_requires_grad(true);
        const Tensor y = embedding(x[0], weight, {.padding_idx = 3});
        y.backward(x[2].to(weight.dtype()));
        out.insert(out.end(), {y.detach(), weight.grad()});
      }
      return out;
    });
  });
}

TEST_CASE("cuda: non-zero elements in order") {
  if (!cuda::is_available()) return;
  for (DType t : kAll)
    for (const Dims& sizes : {Dims{}, Dims{0, 3}, Dims{5}, Dims{31, 33}, Dims{3, 70001}})
      compare("nonzero", {values(sizes, t)}, [](const Many& x) {
        return Many{nonzero(x[0]), x[0].index({x[0].ne(0)}), masked_select(x[0], x[0].gt(0)), nonzero(x[0].eq(77))};
      });
}

TEST_CASE("cuda: elements are moved") {
  if (!cuda::is_available()) return;
  for (DType t : kAll) {
    for (const Dims& sizes : {Dims{16, 32}, Dims{5, 33}, Dims{64, 16, 8}, Dims{3, 1, 48}})
      compare("moves", {values(sizes, t), values(sizes, t)}, [](const Many& x) {
        return Many{x[0].flip({0}),
                    x[0].flip({-1}),
                    x[0].flip({0, 1}),
                    x[0].transpose(0, -1).flip({0}),
                    x[0].tril(),
                    x[0].triu(2),
                    x[0].tril(-100),
                    x[0].triu(-3),
                    cat({x[0], x[1], x[0]}),
                    cat({x[0], x[1]}, 1),
                    cat({x[0], x[1].narrow(-1, 1, 3).contiguous()}, -1),
                    stack({x[0], x[1]}, -1),
                    cat({x[0].to(DType::f64), x[1]}),
                    x[0].roll({1, 2}, {0, 1})};
      });
    compare("many", {values({100, 3}, t)}, [](const Many& x) {
      return Many{cat(x[0].split(1, 0), 1), stack(x[0].unbind(0), 1)};
    });
  }
}

TEST_CASE("cuda: lines in order") {
  if (!cuda::is_available()) return;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  Seeds::each([nan] {
    for (DType t : kAll)
      for (const Dims& sizes :
           {Dims{1}, Dims{3, 5}, Dims{7, 300}, Dims{2, 4097}, Dims{300, 2, 2}, Dims{1, 20000}, Dims{3, 9000}}) {
        Tensor x = values(sizes, t);
        if (is_floating(t) && x.numel() > 4) {
          x.view({-1})[2].fill_(nan);
          x.view({-1})[3].fill_(-0.0);
          x.view({-1})[4].fill_(0.0);
        }
        compare("sort", {x}, [](const Many& x) {
          Many out;
          for (bool descending : {false, true})
            for (int d = 0; d < x[0].dim(); ++d) {
              auto [values, places] = sort(x[0], d, descending);
              out.insert(out.end(), {values, places});
            }
          return out;
        });
        if (t == DType::bool_) continue;
        compare("topk", {x}, [](const Many& x) {
          Many out;
          for (bool largest : {false, true})
            for (int64_t k : {1, 3, 700, 5000})
              if (k <= x[0].sizes().back()) {
                auto [values, places] = topk(x[0], k, -1, largest);
                out.insert(out.end(), {values, places});
              }
          return out;
        });
      }
  });
}

TEST_CASE("cuda: indices and numbers may come from the host") {
  if (!cuda::is_available()) return;
  const Tensor x = values({6, 5}), at = indices({7}, 5), mask = x.gt(0), there = x.to(Device("cuda"));
  CHECK(same_bits(x.index({at}), there.index({at})));
  CHECK(same_bits(x.index({Slice(), at}), there.index({Slice(), at})));
  CHECK(same_bits(x.index({mask}), there.index({mask})));
  CHECK(same_bits(x.index({true}), there.index({true})));
  Tensor a = x.clone(), b = there.clone();
  a.index_put_({at}, zeros({}));
  b.index_put_({at}, zeros({}));
  CHECK(same_bits(a, b));
}

TEST_CASE("cuda: an index out of range is an error that names it") {
  if (!cuda::is_available()) return;
  const Device there("cuda");
  const Tensor x = values({4, 5}).to(there);
  const Tensor bad = tensor(std::vector<int64_t>{0, 7}, {.device = there});
  const auto names = [](auto f, const char* what) {
    std::string text = "no error";
    try {
      f();
      cuda::synchronize();
    } catch (const IndexError& e) {
      text = e.what();
    }
    INFO(text);
    CHECK(text.find(what) != std::string::npos);
  };
  names([&] { index_select(x, 0, bad); }, "index_select: index 7 out of range for dim 0 of size 4");
  names([&] { gather(x, 1, bad.unsqueeze(0)); }, "gather: index 7 out of range for dim 1 of size 5");
  names([&] { scatter_add(x, 1, bad.unsqueeze(0), x); }, "scatter_add: index 7 out of range");
  names([&] { embedding(bad, x); }, "embedding: index 7 out of range for dim 0 of size 4");
  names([&] { gather(x.narrow(0, 0, 0), 0, bad.unsqueeze(0)); }, "gather: index");
  CHECK(x.eq(x).to(Device("cpu")).all().item<bool>());  // and the device goes on
}
