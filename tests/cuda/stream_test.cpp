#include <vector>

#include "kernels/cuda/fault_check.h"
#include "kernels/cuda/runtime.h"
#include "tests/cuda/need_device.h"
#include "tests/sanitized.h"
#include "weft.h"
#ifdef WEFT_CUDA_EMULATE
#include "tests/cuda/device_array.h"
#endif

namespace {

using namespace weft;
using namespace weft::gpu;

#ifdef WEFT_CUDA_EMULATE
// Before anything asks for the devices.
const int two_devices = setenv("WEFT_EMULATE_DEVICES", "2", 0);
#endif

TEST_CASE("guards make a stream or device current and put back what was") {
  NEED_DEVICES(1);
  const cuda::Stream before = cuda::Stream::current(), side = cuda::Stream::create();
  CHECK(side != before);
  {
    const cuda::StreamGuard guard(side);
    CHECK(cuda::Stream::current() == side);
    {
      const cuda::StreamGuard inner(before);
      CHECK(cuda::Stream::current() == before);
    }
    CHECK(cuda::Stream::current() == side);
  }
  CHECK(cuda::Stream::current() == before);
  CHECK(cuda::current_device() == 0);
  NEED_DEVICES(2);
  {
    const cuda::DeviceGuard guard(1);
    CHECK(cuda::current_device() == 1);
    const cuda::StreamGuard back(side);
    CHECK(cuda::current_device() == 0);
  }
  CHECK(cuda::current_device() == 0);
  cuda::set_device(1);
  CHECK(cuda::Stream::create().device() == 1);
  cuda::set_device(0);
}

TEST_CASE("events: order between streams, queries and times") {
  NEED_DEVICES(1);
  const cuda::Stream one = cuda::Stream::create(), two = cuda::Stream::create(-1, true);
  for (int round = 0; round < 20; ++round) {
    Tensor x, y;
    cuda::Event start, made, end;
    {
      const cuda::StreamGuard guard(one);
      start.record();
      x = full({5000}, round, {.device = "cuda"});
      for (int i = 0; i < 10; ++i) x = x.add(1);
      made.record();
    }
    {
      const cuda::StreamGuard guard(two);
      made.wait();
      y = x.mul(2);
      end.record();
    }
    end.synchronize();
    CHECK(start.query());
    CHECK(end.query());
    CHECK(start.elapsed_ms(end) >= 0);
    cuda::record_stream(x, two);
    two.synchronize();
    CHECK(two.query());
    CHECK(y.cpu().equal(full({5000}, 2 * (round + 10))));
  }
}

TEST_CASE("streams are used again") {
  NEED_DEVICES(1);
  void* handle = cuda::Stream::create().handle();
  const cuda::Stream a = cuda::Stream::create();
  CHECK(a.handle() == handle);
  CHECK(cuda::Stream::create(-1, true).handle() != handle);
}

TEST_CASE("copies between devices wait for both of them") {
  NEED_DEVICES(2);
  for (int round = 0; round < 20; ++round) {
    Tensor x = full({1000, 7}, round, {.device = "cuda:0"});
    Tensor y = x.add(1).to("cuda:1");  // the sum dies here, and its memory is used again
    const Tensor other = full({1000, 7}, -5, {.device = "cuda:0"});
    CHECK(y.device() == Device("cuda:1"));
    const Tensor z = y.t().to("cuda:0");
    CHECK(y.cpu().equal(full({1000, 7}, round + 1)));
    CHECK(z.cpu().equal(full({7, 1000}, round + 1)));
    CHECK(other.cpu().equal(full({1000, 7}, -5)));
  }
}

TEST_CASE("non_blocking copies from and to pinned memory") {
  NEED_DEVICES(1);
  for (int round = 0; round < 10; ++round) {
    const Tensor host = arange(3000).add(round).pin_memory();
    CHECK(host.is_pinned());
    const Tensor there = host.to("cuda", true);
    Tensor back = empty({3000}, {.dtype = host.dtype()}).pin_memory();
    back.copy_(there.add(1), true);
    // The pinned copy dies before the device has read it; new ones must not take its place.
    const Tensor late = full({3000}, round).pin_memory().to("cuda", true);
    const Tensor next = full({3000}, -1).pin_memory();
    cuda::synchronize();
    CHECK(back.equal(host.add(1)));
    CHECK(late.cpu().equal(full({3000}, round)));
    CHECK(next.equal(full({3000}, -1)));
  }
  const Tensor pageable = arange(10).to("cuda", true).to("cpu", true);
  CHECK(pageable.equal(arange(10)));
}

TEST_CASE("to(device) and back: dtypes and layouts") {
  NEED_DEVICES(1);
  for (DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16, DType::i64, DType::i32, DType::i16, DType::i8,
                      DType::u8, DType::bool_}) {
    const Tensor x = arange(0, 120, 1, {.dtype = DType::f32}).to(dtype).view({2, 3, 4, 5});
    const Tensor layouts[] = {x,
                              x.permute({3, 1, 0, 2}),
                              x.select(1, 2),
                              x.narrow(2, 1, 2),
                              x.select(0, 1).select(0, 1).select(0, 1).select(0, 1),
                              x.narrow(0, 0, 0),
                              x.select(1, 0).unsqueeze(1).expand({2, 6, 4, 5}),
                              x.to(MemoryFormat::channels_last)};
    for (const Tensor& t : layouts) {
      const Tensor there = t.to("cuda");
      CHECK(there.dtype() == dtype);
      CHECK(there.cpu().equal(t));
      CHECK(there.contiguous().cpu().equal(t));
      Tensor filled = zeros_like(t);
      filled.copy_(there);
      CHECK(filled.equal(t));
    }
  }
  CHECK(arange(6).to("cuda", DType::f64).cpu().equal(arange(6).to(DType::f64)));
  // Contiguous in spite of the stride of a lone element, which a fresh tensor has otherwise.
  const Tensor row = arange(3).unsqueeze(0), column = row.t();
  Tensor there = zeros({3, 1}, {.dtype = DType::i64, .device = "cuda"});
  there.copy_(column);
  CHECK(there.cpu().equal(column));
  there = zeros({2, 3, 1}, {.dtype = DType::i64, .device = "cuda"});
  there.copy_(column);
  CHECK(there.cpu().equal(column.expand({2, 3, 1})));
}

TEST_CASE("errors of devices") {
  NEED_DEVICES(1);
  const int n = cuda::device_count();
  const std::string beyond = "cuda:" + std::to_string(n);
  CHECK(has(message_of([&] { zeros({2}, {.device = Device(beyond)}); }), "this machine has"));
  CHECK(has(message_of([&] { cuda::set_device(n); }), "set_device: there is no device"));
  CHECK(has(message_of([&] { cuda::set_device(-1); }), "set_device: there is no device -1"));
  CHECK(has(message_of([] { Device("cuda:x"); }), "cuda:x"));
  const Tensor here = zeros({2}), there = zeros({2}, {.device = "cuda"});
  CHECK(has(message_of([&] { there.add(zeros({3}, {.device = "cuda"})); }), "add"));
  CHECK(has(message_of([&] { there.add(here); }), "tensors on different devices"));
  CHECK(
      has(message_of([&] { cuda::record_stream(here, cuda::Stream()); }), "record_stream: needs a tensor on a device"));
  CHECK(has(message_of([&] { there.pin_memory(); }), "only host memory can be pinned"));
  NEED_DEVICES(2);
  const Tensor other = zeros({2}, {.device = "cuda:1"});
  CHECK(has(message_of([&] { there.add(other); }), "tensors on different devices"));
}

#ifdef WEFT_CUDA_EMULATE

struct Restore {
  emulate::Settings before = emulate::settings();
  ~Restore() { emulate::settings() = before; }
};

cudaStream_t make(unsigned flags) {
  cudaStream_t s = nullptr;
  check(cudaStreamCreateWithPriority(&s, flags, 0), "test");
  return s;
}

// 1 is written through `writer` and read through `reader`, 40 times; how often the reader came too early.
int too_early(cudaStream_t writer, cudaStream_t reader, bool wait) {
  DeviceArray<unsigned char> x(1), y(1);
  int early = 0;
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "test");
  for (int i = 0; i < 40; ++i) {
    check(cudaMemsetAsync(x.data(), 0, 1, writer), "test");
    check(cudaDeviceSynchronize(), "test");
    check(cudaMemsetAsync(x.data(), 1, 1, writer), "test");
    check(cudaEventRecord(event, writer), "test");
    if (wait) check(cudaStreamWaitEvent(reader, event, 0), "test");
    check(cudaMemcpyAsync(y.data(), x.data(), 1, cudaMemcpyDeviceToDevice, reader), "test");
    check(cudaDeviceSynchronize(), "test");
    early += y.read()[0] != 1;
  }
  check(cudaEventDestroy(event), "test");
  return early;
}

TEST_CASE("emulated streams: work runs in any order that events and the default stream allow") {
  const Restore restore;
  const cudaStream_t a = make(cudaStreamNonBlocking), b = make(cudaStreamNonBlocking), c = make(cudaStreamDefault),
                     d = make(cudaStreamDefault);
  for (uint64_t seed : {0, 1, 2}) {
    emulate::settings().lazy = true;
    emulate::settings().seed = seed;
    CHECK(too_early(a, a, false) == 0);
    CHECK(too_early(a, b, true) == 0);
    CHECK(too_early(a, b, false) > 0);
    CHECK(too_early(a, nullptr, false) > 0);
    CHECK(too_early(c, d, false) > 0);
    CHECK(too_early(c, nullptr, false) == 0);
    CHECK(too_early(nullptr, d, false) == 0);
    emulate::settings().lazy = false;
    CHECK(too_early(a, b, false) == 0);
  }
  for (cudaStream_t s : {a, b, c, d}) cudaStreamDestroy(s);
}

TEST_CASE("emulated copies: pageable memory is read or written when the call returns, pinned memory later") {
  const Restore restore;
  emulate::settings().lazy = true;
  DeviceArray<int> x(std::vector<int>{0});
  const cudaStream_t s = make(cudaStreamNonBlocking);
  void* pinned = nullptr;
  check(cudaHostAlloc(&pinned, sizeof(int), cudaHostAllocDefault), "test");
  int late = 0;
  for (int i = 1; i <= 40; ++i) {
    int pageable = i, back = 0;
    check(cudaMemcpyAsync(x.data(), &pageable, sizeof(int), cudaMemcpyHostToDevice, s), "test");
    pageable = -1;
    check(cudaMemcpyAsync(&back, x.data(), sizeof(int), cudaMemcpyDeviceToHost, s), "test");
    CHECK(back == i);
    *static_cast<int*>(pinned) = i;
    check(cudaMemcpyAsync(x.data(), pinned, sizeof(int), cudaMemcpyHostToDevice, s), "test");
    *static_cast<int*>(pinned) = -1;
    check(cudaStreamSynchronize(s), "test");
    late += x.read()[0] == -1;
  }
  CHECK(late > 0);
  cudaFreeHost(pinned);
  cudaStreamDestroy(s);
  CHECK(cudaMemcpyAsync(x.data(), x.data() + 1, 4, cudaMemcpyDeviceToDevice, nullptr) != cudaSuccess);
  CHECK(cudaMemcpyAsync(x.data(), x.data(), 4, cudaMemcpyHostToDevice, nullptr) != cudaSuccess);
}

TEST_CASE("memory freed while another stream uses it shows, unless record_stream says so") {
  const Restore restore;
  emulate::settings().lazy = true;
  const cuda::Stream side = cuda::Stream::create();
  int wrong = 0, wrong_recorded = 0;
  for (uint64_t seed : {1, 2, 3, 4, 5, 6, 7, 8}) {
    emulate::settings().seed = seed;
    for (const bool recorded : {false, true}) {
      if (kSanitized && !recorded) continue;  // AddressSanitizer would end the program
      Tensor x = full({1000}, 3, {.device = "cuda"}), y;
      side.wait(cuda::Stream::current());
      {
        const cuda::StreamGuard guard(side);
        y = x.add(1);
      }
      if (recorded) cuda::record_stream(x, side);
      x = Tensor();
      const Tensor other = full({1000}, 9, {.device = "cuda"});
      cuda::synchronize();
      (recorded ? wrong_recorded : wrong) += !y.cpu().equal(full({1000}, 4));
    }
  }
  if (!kSanitized && !blocking()) CHECK(wrong > 0);
  CHECK(wrong_recorded == 0);
}

#endif

}  // namespace
