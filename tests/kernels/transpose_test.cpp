// Operands that run through memory across each other: copies and pointwise ops go by blocks there.
#include <array>

#include "core/ops/copy.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/view.h"
#include "core/parallel.h"
#include "tests/catch.h"

using namespace weft;

namespace {

// Element [b, i, j] is b * 10000 + i * 100 + j, reduced to what the dtype holds exactly.
int64_t value(int64_t b, int64_t i, int64_t j, DType t) {
  const int64_t v = b * 10000 + i * 100 + j;
  switch (t) {
    case DType::bool_:
      return v % 3 == 0;
    case DType::u8:
    case DType::i8:
    case DType::bf16:
      return v % 127;
    case DType::f16:
      return v % 2048;
    case DType::i16:
      return v % 32768;
    default:
      return v;
  }
}

Tensor numbers(int64_t B, int64_t M, int64_t N, DType t) {
  std::vector<int64_t> v;
  for (int64_t b = 0; b < B; ++b)
    for (int64_t i = 0; i < M; ++i)
      for (int64_t j = 0; j < N; ++j) v.push_back(value(b, i, j, t));
  return tensor(v).view({B, M, N}).to(t);
}

}  // namespace

TEST_CASE("transposed copies of every dtype and size") {
  const int threads = num_threads();
  for (DType t : {DType::f32, DType::f64, DType::bf16, DType::f16, DType::i8, DType::u8, DType::i16, DType::i32,
                  DType::i64, DType::bool_})
    for (auto [B, M, N] : {std::array<int64_t, 3>{1, 16, 16}, {2, 17, 33}, {3, 64, 70}, {1, 100, 15}, {2, 130, 97}})
      for (int n : {1, 2}) {
        set_num_threads(n);
        Tensor x = numbers(B, M, N, t), y = x.transpose(1, 2).contiguous();
        REQUIRE(y.is_contiguous());
        std::vector<int64_t> want;
        for (int64_t b = 0; b < B; ++b)
          for (int64_t j = 0; j < N; ++j)
            for (int64_t i = 0; i < M; ++i) want.push_back(value(b, i, j, t));
        CAPTURE(name(t), B, M, N, n);
        REQUIRE(equal(y.to(DType::i64).flatten(), tensor(want)));
        // Into a part of a larger tensor, from a part of one.
        Tensor big = zeros({B, N + 3, M + 5}, {.dtype = t}), part = big.slice(1, 2, N + 2).slice(2, 1, M + 1);
        part.copy_(x.transpose(1, 2));
        REQUIRE(equal(part.contiguous(), y));
        REQUIRE(big.to(DType::i64).ne(0).sum().item<int64_t>() == y.to(DType::i64).ne(0).sum().item<int64_t>());
      }
  set_num_threads(threads);
}

TEST_CASE("pointwise ops on transposed operands") {
  for (DType t : {DType::f32, DType::f64, DType::i64, DType::i32, DType::bf16})
    for (auto [B, M, N] : {std::array<int64_t, 3>{1, 16, 16}, {2, 33, 40}, {3, 50, 1000}, {1, 300, 129}}) {
      Tensor a = numbers(B, N, M, t), x = numbers(B, M, N, t);
      Tensor dense = a.transpose(1, 2).contiguous();
      CAPTURE(name(t), B, M, N);
      CHECK(equal(add(x, a.transpose(1, 2), 2), add(x, dense, 2)));
      CHECK(equal(sub(a.transpose(1, 2), x), sub(dense, x)));
      CHECK(equal(mul(a.transpose(1, 2), x.select(0, 0)), mul(dense, x.select(0, 0))));
      CHECK(equal(eq(a.transpose(1, 2), x), eq(dense, x)));
      Tensor inplace = x.clone();
      inplace.add_(a.transpose(1, 2));
      CHECK(equal(inplace, add(x, dense)));
    }
}
