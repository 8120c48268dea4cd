#pragma once

#include "kernels/cuda/pairs.cuh"
#include "kernels/cuda/rows.cuh"

// Rows of floats by whole thread blocks, each element read once: a team of 128 threads has a block of 1024 elements,
// two times four neighbours a thread. So a thread holds little, and many rows are on their way at once. The order of
// core/reduction_order.h comes from shared memory: a warp adds up what its team has put there.
namespace weft::gpu {

inline constexpr int kTeam = 128;
inline constexpr int kMostTeams = 8, kTeamBlock = kMostTeams * kTeam;

/// Whether rows of n elements are for teams; `aligned`: all rows start at multiples of 16 bytes.
template <class S>
bool for_teams(i64 n, bool aligned) {
  return sizeof(S) < 8 && aligned && n % 4 == 0 && n > 256 && n <= kMostTeams * reduction::kBlock;
}
inline int teams_of(i64 n) { return int(reduction::block_count(n)); }

/// Where a thread stands in its row, the same in every row.
struct TeamPlace {
  int n, first;  // of the row; the thread's first element: the others are first + 1 .. 3 and first + 512 .. 515
  __device__ __forceinline__ explicit TeamPlace(i64 length)
      : n(int(length)), first(int(threadIdx.x) / kTeam * int(reduction::kBlock) + int(threadIdx.x) % kTeam * 4) {}
  __device__ __forceinline__ int at(int p) const { return first + p * 4 * kTeam; }
  __device__ __forceinline__ bool inside(int p) const { return at(p) < n; }
};

/// A thread's elements of a row; 0 beyond its end.
template <class S>
struct TeamRow {
  Packed<S, 4> v[2];
  __device__ __forceinline__ Wide<S> at(int p, int k) const { return load(v[p].get(k)); }
  __device__ __forceinline__ void read(const TeamPlace& place, const S* row) {
#pragma unroll
    for (int p = 0; p < 2; ++p) {
      v[p] = Packed<S, 4>::of(store<S>(0.0f));
      if (place.inside(p)) v[p] = *reinterpret_cast<const Packed<S, 4>*>(row + place.at(p));
    }
  }
};
template <class S>
__device__ __forceinline__ void write_team(const TeamPlace& place, S* row, const Wide<S> (&values)[2][4]) {
#pragma unroll
  for (int p = 0; p < 2; ++p)
    if (place.inside(p)) *reinterpret_cast<Few<S, 4>*>(row + place.at(p)) = store_all<S, Few<S, 4>>(values[p]);
}

/// Dynamic shared memory of team_sums of Count sums.
inline size_t team_shared(int teams, int count) {
  return size_t(teams) * size_t(count) * (reduction::kBlock + 1) * sizeof(float);
}

/// The sums over a row of Count values for each of its elements, for all threads of the block; `values` are 0 beyond
/// the row. A barrier for the whole block.
template <int Count>
__device__ __forceinline__ void team_sums(float* shared, const TeamPlace& place, const float (&values)[Count][2][4],
                                          float (&sums)[Count]) {
  constexpr int kBlock = int(reduction::kBlock);
  const int teams = int(blockDim.x) / kTeam, team = int(threadIdx.x) / kTeam;
  const int warp = int(threadIdx.x) % kTeam / 32, lane = int(threadIdx.x) % 32;
  float* results = shared + Count * teams * kBlock;
#pragma unroll
  for (int c = 0; c < Count; ++c)
#pragma unroll
    for (int p = 0; p < 2; ++p) {
      Few<float, 4> few;
#pragma unroll
      for (int k = 0; k < 4; ++k) few.v[k] = values[c][p][k];
      *reinterpret_cast<Few<float, 4>*>(shared + c * teams * kBlock + place.at(p)) = few;
    }
  __syncthreads();
  if (warp < Count) {
    const float* mine = shared + (warp * teams + team) * kBlock + lane;
    float total = 0.0f;
#pragma unroll
    for (int s = 0; s < kBlock / 32; ++s) total = total + mine[s * 32];
    total = warp_tree<reduction::Sum<float>>(total);
    if (lane == 0) results[warp * teams + team] = total;
  }
  __syncthreads();
#pragma unroll
  for (int c = 0; c < Count; ++c) {
    if (teams == 1) {
      sums[c] = results[c];
      continue;
    }
    float v[kMostTeams];
#pragma unroll
    for (int t = 0; t < kMostTeams; ++t) v[t] = t < teams ? results[c * teams + t] : 0.0f;
#pragma unroll
    for (int half = kMostTeams / 2; half > 0; half /= 2)
#pragma unroll
      for (int t = 0; t < half; ++t) v[t] = v[t] + v[t + half];
    sums[c] = v[0];
  }
}

/// Thread blocks for `rows`: about as many as stay on a large device at once, each taking several rows. A function of
/// the shape alone, for sums over rows.
inline i64 team_blocks(i64 rows, int teams) {
  const i64 most = 1056 / teams;
  return rows < most ? rows : most;
}

}  // namespace weft::gpu
