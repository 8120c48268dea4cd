#include "core/dlpack.h"
#include "core/thread_state.h"

#include "core/error.h"
#include "core/ops/pointwise_api.h"
#include "tests/catch.h"

using namespace weft;

TEST_CASE("dlpack: out and back shares memory and frees once") {
  const DefaultDevice host("cpu");
  for (DType t : {DType::f32, DType::f64, DType::bf16, DType::f16, DType::i8, DType::u8, DType::i16, DType::i32,
                  DType::i64, DType::bool_}) {
    Tensor x = arange(12).to(t).view({3, 4}).t().narrow(0, 1, 2);
    const int64_t uses = x.use_count();
    {
      DLManagedTensor* m = to_dlpack(x);
      CHECK(x.use_count() == uses + 1);
      CHECK(m->dl_tensor.ndim == 2);
      CHECK(m->dl_tensor.dtype.bits == 8 * itemsize(t));
      Tensor y = from_dlpack(m);
      CHECK(y.data_ptr() == x.data_ptr());
      CHECK(y.strides() == x.strides());
      CHECK(y.dtype() == t);
      CHECK(equal(x, y));
    }
    CHECK(x.use_count() == uses);
    { Tensor z = from_dlpack(to_dlpack_versioned(x)); }
    CHECK(x.use_count() == uses);
  }
}

TEST_CASE("dlpack: what others may hand over") {
  const DefaultDevice host("cpu");
  float values[6] = {0, 1, 2, 3, 4, 5};
  int64_t shape[2] = {2, 2};
  static int freed;
  freed = 0;
  DLManagedTensor m{
      {values, {kDLCPU, 0}, 2, {kDLFloat, 32, 1}, shape, nullptr, 8}, nullptr, [](DLManagedTensor*) { ++freed; }};
  { CHECK(equal(from_dlpack(&m), tensor({2, 3, 4, 5}).view({2, 2}))); }
  CHECK(freed == 1);
  m.dl_tensor.dtype.lanes = 4;
  CHECK_THROWS_AS(from_dlpack(&m), Error);
  m.dl_tensor.dtype = {kDLComplex, 64, 1};
  CHECK_THROWS_AS(from_dlpack(&m), Error);
  m.dl_tensor.dtype = {kDLFloat, 32, 1};
  m.dl_tensor.device = {kDLCUDA, 0};
  CHECK_THROWS_AS(from_dlpack(&m), Error);
  m.dl_tensor.device = {kDLCPU, 0};
  int64_t strides[2] = {-2, 1};
  m.dl_tensor.strides = strides;
  CHECK_THROWS_AS(from_dlpack(&m), Error);
  CHECK(freed == 1);
  CHECK_THROWS_AS(to_dlpack(ones({2}, {.requires_grad = true})), Error);
  DLManagedTensorVersioned* v = to_dlpack_versioned(ones({2}));
  v->version.major = 2;
  CHECK_THROWS_AS(from_dlpack(v), Error);
  v->version.major = 1;
  v->flags = DLPACK_FLAG_BITMASK_READ_ONLY;
  CHECK_THROWS_AS(from_dlpack(v), Error);
  v->deleter(v);
}
