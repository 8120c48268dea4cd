#include "data/transfer.h"

#include "core/error.h"
#include "core/ops/pointwise_api.h"
#include "data/serialize.h"
#include "tests/catch.h"
#include "tests/data/helpers.h"

using namespace weft;
using namespace weft::test;

TEST_CASE("load: into another dtype; ties, strides and integers stay") {
  const TemporaryFolder folder;
  const Tensor base = numbered({4, 6}, DType::u8).to(DType::f32);
  const Value saved = {{"base", base},
                       {"view", base.t()},
                       {"leaf", full({2}, 0.5).set_requires_grad(true)},
                       {"index", numbered({3}, DType::i64)},
                       {"rest", Value::tuple({1, "x", Value::list({base.select(0, 2)})})}};
  save(folder.file("m.pt"), saved);
  const Value back = load(folder.file("m.pt"), {.dtype = DType::bf16});
  const Tensor b = back["base"].as_tensor();
  CHECK(b.dtype() == DType::bf16);
  CHECK(same_bits(b.to(DType::f32), base));
  CHECK(back["view"].as_tensor().shares_storage_with(b));
  CHECK(back["view"].as_tensor().strides() == base.t().strides());
  CHECK(same_bits(back["rest"][2][0].as_tensor().to(DType::f32), base.select(0, 2)));
  CHECK(back["rest"].list_kind() == Value::ListKind::tuple);
  CHECK(back["leaf"].as_tensor().requires_grad());
  CHECK(back["index"].as_tensor().dtype() == DType::i64);
  save_safetensors(folder.file("m.safetensors"), {{"a", base}, {"tied", base}});
  const StateDict tensors = load_safetensors(folder.file("m.safetensors"), {.dtype = DType::f64});
  CHECK(tensors.find("a")->dtype() == DType::f64);
  CHECK(tensors.find("tied")->shares_storage_with(*tensors.find("a")));
  CHECK(error_of([&] { load(folder.file("m.pt"), {.dtype = DType::i32}); }) ==
        "transfer: i32 is not a floating dtype; give one, or none");
}

TEST_CASE("transfer: nothing to change shares, and history ends") {
  const Tensor w = full({3}, 2.0).set_requires_grad(true);
  const Value v = {{"product", w * 2.0}, {"w", w}};
  const Value same = transfer(v, {.device = default_device()});
  CHECK(same["w"].as_tensor().shares_storage_with(w));
  CHECK(same["product"].as_tensor().is_leaf());
  CHECK(same["w"].as_tensor().requires_grad());
  CHECK(transfer(v, {}) == v);
}

TEST_CASE("snapshot: a copy that keeps what shares memory together") {
  Tensor base = numbered({4, 6}, DType::f32), before = base.clone();
  const Value copy = snapshot({{"base", base}, {"column", base.select(1, 2)}, {"empty", empty({0, 3})}, {"n", 1}});
  base.zero_();
  CHECK(same_bits(copy["base"].as_tensor(), before));
  CHECK(same_bits(copy["column"].as_tensor(), before.select(1, 2)));
  CHECK(copy["column"].as_tensor().shares_storage_with(copy["base"].as_tensor()));
  CHECK(copy["empty"].as_tensor().sizes() == Dims{0, 3});
}
