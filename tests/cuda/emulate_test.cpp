#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <functional>

#include "core/device_backend.h"
#include "core/error.h"
#include "kernels/cuda/allocator.h"
#include "kernels/cuda/fault.h"
#include "kernels/cuda/launch.h"
#include "tests/cuda/device_array.h"
#include "tests/cuda/need_device.h"
#include "weft.h"

namespace {

using namespace weft;
using namespace weft::gpu;

// What f, or a kernel that it put in, throws.
std::string failure_of(const std::function<void()>& f) {
  return message_of([&] {
    f();
    check(cudaDeviceSynchronize(), "test");
  });
}

struct Restore {
  emulate::Settings before = emulate::settings();
  Restore() { emulate::settings().races = false; }  // some kernels here race on purpose
  ~Restore() { emulate::settings() = before; }
};

__global__ void one_leaves_early(int* out) {
  if (threadIdx.x == 3) return;
  __syncthreads();
  out[threadIdx.x] = 1;
}
__global__ void two_barriers(int* out) {
  if (threadIdx.x % 2) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[threadIdx.x] = 1;
}
__global__ void barrier_against_shuffle(int* out) {
  if (threadIdx.x < 32)
    __syncthreads();
  else
    out[threadIdx.x] = __shfl_xor_sync(0xffffffffu, 1, 1);
  __syncthreads();
}
__global__ void caller_not_in_mask(int* out) { out[threadIdx.x] = __shfl_sync(0xfffffffeu, 1, 1); }
__global__ void lane_does_not_come(int* out) {
  if (threadIdx.x != 7) out[threadIdx.x] = __shfl_sync(0xffffffffu, 1, 0);
}

TEST_CASE("a barrier or shuffle that not all threads reach is a named error") {
  DeviceArray<int> out(64);
  auto text = [&](void (*kernel)(int*), unsigned threads) {
    return failure_of([&] { launch(kernel, 1, threads, 0, nullptr, out.data()); });
  };
  CHECK(has(text(one_leaves_early, 64), "divergent barrier: no thread of the block can go on; 63 at __syncthreads"));
  CHECK(has(text(two_barriers, 64), "divergent barrier: threads of a block wait in lines"));
  CHECK(has(text(barrier_against_shuffle, 64), "divergent barrier"));
  CHECK(has(text(caller_not_in_mask, 32), "lane 0 calls a warp function"));
  CHECK(has(text(lane_does_not_come, 32), "31 at a warp function"));
  CHECK(text(two_barriers, 1) == "no error");  // the thread agrees with itself, and nothing is left over
}

__global__ void reverse(const int* in, int* out, bool wait) {
  WEFT_DYNAMIC_SHARED(int, held);
  unsigned t = threadIdx.x;
  held[t] = in[t];
  if (wait) __syncthreads();
  out[t] = held[blockDim.x - 1 - t];
}

TEST_CASE("a missing barrier shows: the orders of the threads, or the poisons, give different results") {
  Restore restore;
  std::vector<int> values(256), expected(256);
  for (int i = 0; i < 256; ++i) expected[size_t(255 - i)] = values[size_t(i)] = i;
  DeviceArray<int> in(values);
  int wrong = 0;
  for (uint64_t seed : {1, 2, 3}) {
    emulate::settings().seed = seed;
    DeviceArray<int> out(256);
    launch(reverse, 1, 256, 256 * sizeof(int), nullptr, in.data(), out.data(), true);
    CHECK(out.read() == expected);
    launch(reverse, 1, 256, 256 * sizeof(int), nullptr, in.data(), out.data(), false);
    wrong += out.read() != expected;
  }
  CHECK(wrong == 3);
}

__global__ void read_unwritten(unsigned* out) {
  WEFT_SHARED(unsigned[2][4], held);
  WEFT_SHARED(unsigned, single);
  if (threadIdx.x == 0) out[0] = held[1][3], out[1] = single;
  held[1][3] = single = 7;
}

TEST_CASE("shared memory starts every block with the poison") {
  Restore restore;
  for (unsigned char poison : {0xff, 0x5a}) {
    emulate::settings().poison = poison;
    DeviceArray<unsigned> out(2);
    launch(read_unwritten, 5, 1, 0, nullptr, out.data());
    CHECK(out.read() == std::vector<unsigned>(2, poison * 0x01010101u));
  }
}

__global__ void all_warp_functions(int* out) {
  int t = int(threadIdx.x), lane = t % 32;
  int sum = lane;
  for (int half = 16; half > 0; half /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, half);
  int up = __shfl_up_sync(0xffffffffu, lane, 3), down = __shfl_down_sync(0xffffffffu, lane, 5, 16);
  bool votes = __ballot_sync(0xffffffffu, lane < 4) == 0xfu && __any_sync(0xffffffffu, lane == 9) &&
               !__all_sync(0xffffffffu, lane == 9);
  int half_sum = 0;
  if (lane < 16)
    half_sum = __shfl_sync(0x0000ffffu, lane, 15);
  else
    half_sum = __shfl_sync(0xffff0000u, lane, 31);
  double wide = __shfl_sync(0xffffffffu, lane + 0.25, 8);
  bool right = sum == 496 && up == (lane < 3 ? lane : lane - 3) && down == (lane % 16 < 11 ? lane + 5 : lane) &&
               votes && half_sum == (lane < 16 ? 15 : 31) && wide == 8.25;
  atomicAdd(out, right ? 1 : 0);
  atomicMax(out + 1, t);
  atomicMin(out + 2, t - 5);
  atomicCAS(out + 3, 0, t + 1);
}

TEST_CASE("warp functions and atomics") {
  Restore restore;
  for (uint64_t seed : {1, 2, 3}) {
    emulate::settings().seed = seed;
    DeviceArray<int> out(std::vector<int>{0, 0, 0, 0});
    launch(all_warp_functions, 3, 96, 0, nullptr, out.data());
    std::vector<int> got = out.read();
    CHECK(got[0] == 3 * 96);
    CHECK(got[1] == 95);
    CHECK(got[2] == -5);
    CHECK(got[3] > 0);
  }
}

__global__ void where_am_i(unsigned* out) {
  unsigned block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
  unsigned thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
  out[block * blockDim.x * blockDim.y * blockDim.z + thread] += block * 1000 + thread;
}

TEST_CASE("three-dimensional grids and blocks; every thread runs once; launches are counted") {
  const Restore restore;
  DeviceArray<unsigned> out(std::vector<unsigned>(24 * 30, 0));
  emulate::Counts before = emulate::counts();
  launch(where_am_i, dim3(2, 3, 4), dim3(5, 3, 2), 0, nullptr, out.data());
  std::vector<unsigned> got = out.read();
  bool right = true;
  for (unsigned i = 0; i < got.size(); ++i) right &= got[i] == i / 30 * 1000 + i % 30;
  CHECK(right);
  CHECK(emulate::counts().launches == before.launches + 1);
  CHECK(emulate::counts().blocks == before.blocks + 24);
}

TEST_CASE("a launch that no device takes is an error") {
  DeviceArray<unsigned> out(1);
  auto text = [&](dim3 grid, dim3 block, size_t shared) {
    return failure_of([&] { launch(where_am_i, grid, block, shared, nullptr, out.data()); });
  };
  CHECK(has(text(0, 32, 0), "a grid has 1 to"));
  CHECK(has(text(dim3(1, 70000), 32, 0), "a grid has 1 to"));
  CHECK(has(text(1, 0, 0), "a block has 1 to 1024 threads"));
  CHECK(has(text(1, 1025, 0), "a block has 1 to 1024 threads"));
  CHECK(has(text(1, 32, 200 << 10), "dynamic shared memory"));
}

// ---- seeded mistakes

__global__ void add_one(const float* in, float* out, unsigned n, unsigned skipped) {
  const unsigned i = (blockIdx.x + skipped) * blockDim.x + threadIdx.x;
  if (i < n + skipped) out[i] = in[i] + 1;
}

TEST_CASE("a block index off by one: a write past the end is an error, and the first values are poison") {
  Restore restore;
  for (unsigned char poison : {0xff, 0x5a}) {
    emulate::settings().poison = poison;
    Tensor in = zeros({1000}, {.device = "cuda"}), out = empty({1000}, {.device = "cuda"});
    const auto add = [&](unsigned skipped) {
      launch(add_one, 8, 125, 0, nullptr, static_cast<const float*>(in.impl()->data),
             static_cast<float*>(out.impl()->data), 1000u, skipped);
    };
    CHECK(failure_of([&] { add(0); }) == "no error");
    CHECK(out.cpu().equal(ones({1000})));
#ifndef __SANITIZE_ADDRESS__
    out = empty({1000}, {.device = "cuda"});
    CHECK(failure_of([&] { add(1), out = Tensor(); }).find("a kernel wrote past the end of the 4000 bytes") !=
          std::string::npos);
#endif
  }
}

TEST_CASE("device memory that was not written differs between the poisons") {
  Restore restore;
  std::vector<Tensor> got;
  for (unsigned char poison : {0xff, 0x5a}) {
    emulate::settings().poison = poison;
    const Tensor unwritten = empty({100}, {.device = "cuda"});
    got.push_back(unwritten.mul(1).cpu());
  }
  CHECK_FALSE(got[0].equal(got[0]));  // NaN
  CHECK(got[1].equal(got[1]));
}

template <bool barrier_before, bool barrier_after>
__global__ void sums_of_neighbours(const int* in, int* out, int rounds) {
  WEFT_SHARED(int[64], held);
  const unsigned t = threadIdx.x;
  for (int r = 0; r < rounds; ++r) {
    held[t] = in[r * 64 + t];
    if (barrier_before) __syncthreads();
    out[r * 64 + t] = held[t] + held[(t + 1) % 64];
    if (barrier_after) __syncthreads();
  }
}
__global__ void neighbours_in_warp(int* out, bool meet) {
  WEFT_SHARED(int[32], held);
  held[threadIdx.x] = int(threadIdx.x);
  if (meet) __syncwarp();
  out[threadIdx.x] = held[threadIdx.x ^ 1];
}
__global__ void blocks_that_meet(int* out, bool race) {
  if (threadIdx.x == 0) {
    out[1 + blockIdx.x] = race ? out[0] : 0;
    atomicAdd(out, 1);
  }
}
__global__ void shared_not_written(int* out) {
  WEFT_SHARED(int[64], held);
  out[threadIdx.x] = held[threadIdx.x];
}

TEST_CASE("races between threads and blocks are named when each launch runs in two orders") {
  Restore restore;
  cuda::empty_cache();
  emulate::settings().races = true;
  std::vector<int> values(640);
  for (int i = 0; i < 640; ++i) values[size_t(i)] = i * 7;
  DeviceArray<int> in(values), out(std::vector<int>(640, 0));
  const auto text = [&](auto kernel, unsigned grid, unsigned block, auto... arguments) {
    return failure_of([&] { launch(kernel, grid, block, 0, nullptr, arguments...); });
  };
  const int* from = in.data();
  CHECK(text(sums_of_neighbours<true, true>, 1, 64, from, out.data(), 10) == "no error");
  CHECK(out.read()[639] == 7 * (639 + 576));
  CHECK(has(text(sums_of_neighbours<false, true>, 1, 64, from, out.data(), 10), "launch: a race"));
  CHECK(has(text(sums_of_neighbours<true, false>, 1, 64, from, out.data(), 10), "launch: a race"));
  CHECK(text(sums_of_neighbours<true, false>, 1, 64, from, out.data(), 1) == "no error");
  CHECK(text(neighbours_in_warp, 1, 32, out.data(), true) == "no error");
  CHECK(has(text(neighbours_in_warp, 1, 32, out.data(), false), "launch: a race"));
  CHECK(text(blocks_that_meet, 8, 32, out.data(), false) == "no error");
  CHECK(has(text(blocks_that_meet, 8, 32, out.data(), true), "launch: a race"));
  CHECK(has(text(shared_not_written, 1, 64, out.data()), "launch: a race"));
}

__global__ void take_rows(const float* in, const int* rows, float* out, int n, FaultSite fault) {
  int row = rows[threadIdx.x];
  if (row < 0 || row >= n) {
    fault.report(row);
    row = 0;
  }
  out[threadIdx.x] = in[row];
}

TEST_CASE("a bad value that a kernel found is thrown at the next op and at synchronize") {
  const Tensor in = ones({4}, {.device = "cuda"}), out = empty({3}, {.device = "cuda"});
  const auto take = [&](int row) {
    DeviceArray<int> rows(std::vector<int>{0, row, 1});
    launch(take_rows, 1, 3, 0, nullptr, static_cast<const float*>(in.impl()->data),
           static_cast<const int*>(rows.data()), static_cast<float*>(out.impl()->data), 4,
           fault_site(weft::detail::Fault::index, "{}: row {} of {}", "take", 4));
  };  // the rows are freed, which waits
  take(3);
  cuda::synchronize();
  CHECK(out.cpu().equal(ones({3})));
  take(7);
  CHECK(message_of([&] { cuda::synchronize(); }) == "take: row 7 of 4");
  cuda::synchronize();
  take(-2);
  CHECK_THROWS_AS(in.add(1), IndexError);
  CHECK(in.add(1).cpu().equal(full({4}, 2)));
}

__global__ void stuck_after(int* out) {
  out[threadIdx.x] = 1;
  if (threadIdx.x == 0) __syncthreads();
}

TEST_CASE("an error in a kernel names the op that put it in") {
  DeviceArray<int> out(64);
  weft::detail::running_op = "some_op";
  const std::string text = failure_of([&] { launch(stuck_after, 1, 64, 0, nullptr, out.data()); });
  weft::detail::running_op = nullptr;
  CHECK(text.rfind("some_op: ", 0) == 0);
  CHECK(has(text, "divergent barrier"));
}

TEST_CASE("guarded: a host that reads device memory is stopped") {
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);  // not Catch's
    emulate::settings().guard = true;
    emulate::settings().lazy = false;
    freopen("/dev/null", "w", stderr);
    void* p = nullptr;
    check(cudaMalloc(&p, 100), "test");
    check(cudaMemsetAsync(p, 0, 100, nullptr), "test");
    char copy[100] = {1};
    check(cudaMemcpyAsync(copy, p, 100, cudaMemcpyDeviceToHost, nullptr), "test");
    if (copy[99] != 0) _exit(2);
    if (*static_cast<volatile char*>(p) == 0) _exit(0);
    _exit(3);
  }
  int status = 0;
  waitpid(child, &status, 0);
  CHECK_FALSE(
      (WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == 2 || WEXITSTATUS(status) == 3)));
}

}  // namespace
