#include <functional>

#include "core/error.h"
#include "kernels/cuda/launch.h"
#include "tests/catch.h"
#include "tests/cuda/device_array.h"

namespace {

using namespace weft;
using namespace weft::gpu;

std::string message_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}
bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

struct Restore {
  emulate::Settings before = emulate::settings();
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
    return message_of([&] { launch(kernel, 1, threads, 0, nullptr, out.data()); });
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
    return message_of([&] { launch(where_am_i, grid, block, shared, nullptr, out.data()); });
  };
  CHECK(has(text(0, 32, 0), "a grid has 1 to"));
  CHECK(has(text(dim3(1, 70000), 32, 0), "a grid has 1 to"));
  CHECK(has(text(1, 0, 0), "a block has 1 to 1024 threads"));
  CHECK(has(text(1, 1025, 0), "a block has 1 to 1024 threads"));
  CHECK(has(text(1, 32, 200 << 10), "dynamic shared memory"));
}

}  // namespace
