// Whatever is asked of a Tensor that is none is an error, never a crash.
#include <functional>

#include "core/registry.h"
#include "tests/catch.h"
#include "weft.h"

using namespace weft;

TEST_CASE("an undefined Tensor has nothing but an error") {
  const Tensor none, x = randn({3, 4});
  const std::vector<std::function<void()>> all = {
      [&] { none.sizes(); },
      [&] { none.strides(); },
      [&] { none.size(0); },
      [&] { none.dim(); },
      [&] { none.numel(); },
      [&] { none.dtype(); },
      [&] { none.device(); },
      [&] { none.is_contiguous(); },
      [&] { none.nbytes(); },
      [&] { none.data_ptr(); },
      [&] { none.data<float>(); },
      [&] { none.item(); },
      [&] { none.version(); },
      [&] { none.shares_storage_with(x); },
      [&] { x.shares_storage_with(none); },
      [&] { none.requires_grad(); },
      [&] { Tensor(none).set_requires_grad(true); },
      [&] { none.is_leaf(); },
      [&] { none.grad(); },
      [&] { none.backward(); },
      [&] { none.detach(); },
      [&] { none.retain_grad(); },
      [&] { none.register_hook([](const Tensor& g) { return g; }); },
      [&] { none.grad_fn_name(); },
      [&] { none.sum(); },
      [&] { none.mean(); },
      [&] { none.to(DType::f64); },
      [&] { none.to(Device()); },
      [&] { none.clone(); },
      [&] { none.contiguous(); },
      [&] { none.view({2}); },
      [&] { none.reshape({2}); },
      [&] { none.transpose(0, 1); },
      [&] { none.unsqueeze(0); },
      [&] { none.narrow(0, 0, 1); },
      [&] { none.exp(); },
      [&] { none.softmax(-1); },
      [&] { none.matmul(x); },
      [&] { x.matmul(none); },
      [&] { none + x; },
      [&] { x + none; },
      [&] { none * 2.0; },
      [&] { Tensor(x).add_(none); },
      [&] { Tensor(none).add_(x); },
      [&] { Tensor(none).zero_(); },
      [&] { Tensor(none).fill_(1); },
      [&] { Tensor(x).copy_(none); },
      [&] { Tensor(none).copy_(x); },
      [&] {
        cat({x, none});
      },
      [&] {
        stack({none, x});
      },
      [&] { where(none, x, x); },
      [&] { relu(none); },
      [&] { gelu(none); },
      [&] { linear(none, x); },
      [&] { linear(x, none); },
      [&] { conv2d(none, x); },
      [&] { layer_norm(none, {4}); },
      [&] { embedding(none, x); },
      [&] { cross_entropy(none, none); },
      [&] { cross_entropy(x, none); },
      [&] { scaled_dot_product_attention(none, none, none); },
      [&] { dropout(none, 0.5); },
      [&] { zeros_like(none); },
      [&] { randn_like(none); },
      [&] { allclose(x, none); },
      [&] { equal(none, x); },
      [&] { grad({none}, {x}); },
      [&] { nn::Linear(4, 3)(none); },
      [&] { nn::LayerNorm(4)(none); },
      [&] { optim::SGD({none}, {.lr = 1.0}); },
  };
  for (size_t i = 0; i < all.size(); ++i) {
    CAPTURE(i);
    CHECK_THROWS_AS(all[i](), Error);
  }
  CHECK_NOTHROW(none.str());
  CHECK(!none.defined());
  CHECK(none.is_same(Tensor()));
}

TEST_CASE("every op by name refuses an undefined argument") {
  const std::vector<Value> others = {randn({1, 3, 4, 4}), int64_t{1}, zeros({2, 3, 4, 4}, {.dtype = DType::i64})};
  int refused = 0;
  for (const std::string& name : op_names()) {
    for (size_t count = 1; count < 4; ++count)
      for (size_t at = 0; at < count; ++at)
        for (const Value& other : others) {
          std::vector<Value> args(count, other);
          args[at] = Value(Tensor());
          try {
            call(name, args);
          } catch (const Error&) {
            ++refused;
          }
        }
  }
  CHECK(refused > 1000);
}
