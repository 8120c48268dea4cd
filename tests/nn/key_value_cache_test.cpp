#include "nn/key_value_cache.h"

#include "core/error.h"
#include "core/thread_state.h"
#include "tests/catch.h"
#include "weft.h"

using namespace weft;
using Catch::Matchers::Contains;

namespace {

struct Rows {
  Tensor q, k, v;
  Rows part(int64_t from, int64_t length) const {
    return {q.narrow(2, from, length), k.narrow(2, from, length), v.narrow(2, from, length)};
  }
};

Rows rows(int64_t batch, int64_t heads, int64_t kv_heads, int64_t time, DType dtype = DType::f32) {
  const TensorOptions o{.dtype = dtype};
  return {randn({batch, heads, time, 8}, o), randn({batch, kv_heads, time, 8}, o),
          randn({batch, kv_heads, time, 5}, o)};
}

}  // namespace

TEST_CASE("KeyValueCache: any cut of a sequence gives the rows of its causal attention") {
  manual_seed(1);
  const int64_t time = 13;
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16, DType::f16})
    for (const int64_t kv_heads : {4, 2})
      for (const std::vector<int64_t>& cut :
           {std::vector<int64_t>{13}, {5, 8}, {1, 1, 1, 10}, {4, 1, 1, 5, 2}, std::vector<int64_t>(13, 1)}) {
        CAPTURE(std::string(name(dtype)), kv_heads, cut.size());
        const Rows all = rows(2, 4, kv_heads, time, dtype);
        const bool gqa = kv_heads != 4;
        const Tensor want =
            scaled_dot_product_attention(all.q, all.k, all.v, {.is_causal = true, .scale = 0.3, .enable_gqa = gqa});
        const InferenceMode guard;
        nn::KeyValueCache cache(time + 2);
        std::vector<Tensor> got;
        int64_t at = 0;
        for (const int64_t n : cut) {
          const Rows r = all.part(at, n);
          got.push_back(cache.attend(r.q, r.k, r.v, {.scale = 0.3, .enable_gqa = gqa}));
          CHECK(cache.size() == (at += n));
        }
        const double tolerance = dtype == DType::f64 ? 1e-14 : dtype == DType::f32 ? 1e-6 : 1e-2;
        CHECK(allclose(cat(got, 2).to(DType::f64), want.to(DType::f64), tolerance, tolerance));
      }
}

TEST_CASE("KeyValueCache: update() hands out all keys and values, which stay as they are") {
  manual_seed(2);
  const Rows all = rows(2, 3, 3, 6);
  nn::KeyValueCache cache(6);
  const auto [keys, values] = cache.update(all.k.narrow(2, 0, 4), all.v.narrow(2, 0, 4));
  const Tensor before = keys.clone();
  const auto [more_keys, more_values] = cache.update(all.k.narrow(2, 4, 2), all.v.narrow(2, 4, 2));
  CHECK(equal(more_keys, all.k));
  CHECK(equal(more_values, all.v));
  CHECK(equal(keys, before));
  CHECK(keys.shares_storage_with(more_keys));

  cache.truncate(1);
  CHECK(equal(cache.update(all.k.narrow(2, 1, 2), all.v.narrow(2, 1, 2)).first, all.k.narrow(2, 0, 3)));
  cache.reset();
  CHECK(cache.size() == 0);
  CHECK(cache.capacity() == 6);
  CHECK(cache.update(all.k.select(0, 0).unsqueeze(0).to(DType::f64), all.v.select(0, 0).unsqueeze(0).to(DType::f64))
            .first.dtype() == DType::f64);
}

TEST_CASE("KeyValueCache: copies are independent, what was moved from is empty") {
  manual_seed(3);
  const Rows all = rows(1, 2, 2, 4);
  nn::KeyValueCache cache(4);
  cache.update(all.k.narrow(2, 0, 2), all.v.narrow(2, 0, 2));
  nn::KeyValueCache copy = cache;
  const Tensor theirs = copy.update(all.k.narrow(2, 0, 2), all.v.narrow(2, 0, 2)).first;
  const Tensor mine = cache.update(all.k.narrow(2, 2, 2), all.v.narrow(2, 2, 2)).first;
  CHECK(equal(mine, all.k));
  CHECK(equal(theirs.narrow(2, 2, 2), all.k.narrow(2, 0, 2)));
  const nn::KeyValueCache moved = std::move(cache);
  CHECK(moved.size() == 4);
  CHECK(cache.size() == 0);
  CHECK(equal(cache.update(all.k, all.v).first, all.k));
  copy = moved;
  CHECK(copy.size() == 4);
  copy.truncate(0);
  CHECK(equal(copy.update(all.k, all.v).first, mine));
}

TEST_CASE("KeyValueCache: of use in and outside InferenceMode, under Autocast, with parameters that need gradients") {
  manual_seed(4);
  nn::Linear layer(8, 8);
  const Tensor x = randn({1, 2, 3, 8});
  nn::KeyValueCache cache(8);
  {
    const InferenceMode guard;
    cache.update(layer(x), layer(x));
  }
  {
    const NoGrad guard;
    CHECK(cache.update(layer(x), layer(x)).first.size(2) == 6);
  }
  CHECK_THROWS_WITH(cache.update(layer(x), layer(x)), Contains("need gradients") && Contains("InferenceMode"));
  CHECK(cache.size() == 6);
  const InferenceMode guard;
  const Autocast cast(default_device(), DType::bf16);
  nn::KeyValueCache lower(8);
  CHECK(lower.attend(layer(x), layer(x), layer(x)).dtype() == DType::bf16);
}

TEST_CASE("KeyValueCache: what does not fit is an error and changes nothing") {
  manual_seed(5);
  const Rows a = rows(2, 3, 3, 3);
  nn::KeyValueCache cache(5);
  const Tensor before = cache.attend(a.q, a.k, a.v);
  const auto refused = [&](const Rows& r, const char* text) {
    CHECK_THROWS_WITH(cache.attend(r.q, r.k, r.v), Contains("KeyValueCache: ") && Contains(text));
    CHECK(cache.size() == 3);
  };
  refused(a, "3 more positions do not fit, 3 of 5 are taken");
  refused(rows(1, 3, 3, 1), "do not continue");
  refused(rows(2, 4, 4, 1), "do not continue");
  refused(rows(2, 3, 3, 1, DType::f64), "do not continue");
  Rows one = rows(2, 3, 3, 1);
  refused({one.q, one.k, one.v.to(DType::f64)}, "one dtype");
  refused({one.q, one.k, a.v}, "differ in time");
  refused({a.q, one.k, one.v}, "of the same positions");
  refused({one.q, one.k.select(0, 0), one.v}, "same positions");
  refused({one.q, one.k, {}}, "undefined");
  // Found by the attention, when the keys are taken: given back.
  CHECK_THROWS_WITH(cache.attend(randn({2, 3, 1, 9}), one.k, one.v), Contains("widths"));
  CHECK(cache.size() == 3);
  CHECK_NOTHROW(cache.attend(one.q, one.k, one.v));
  CHECK_THROWS_WITH(cache.truncate(5), Contains("cannot be cut to 5 positions, it has 4"));
  CHECK_THROWS_WITH(cache.truncate(-1), Contains("cannot be cut"));
  CHECK_THROWS_WITH(nn::KeyValueCache(0), Contains("got a capacity of 0"));
}
