#include "core/error.h"
#include "kernels/cuda/allocator.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/norm.cuh"
#include "kernels/cuda/team_rows.cuh"

// Gradients of normalize_rows. With h = (x - mean) scale and u = g w:
//   gx = scale (u - mean(u) - h mean(u h)); no mean(u) when not centred.   gw = sum g h, gb = sum g.
// gx has the bits of kernels/cpu/norm.cpp. The sums of the parameters go over chunks of rows, then over the chunks; the
// cut depends on the shape, the dtype and the alignment alone.
namespace weft::gpu {
namespace {

template <class T>
struct GradientArguments {
  const void *g, *x;
  void* gx;    // null: not wanted
  T* partial;  // [chunks, 2, n]: sums of g h and of g; null: not wanted
  const T *means, *scales;
  NormParameter weight;
  NormIndex index;
  i64 rows, n, chunk;
  T count;
  bool centred;
};

constexpr int kTeamThreads = 128;
constexpr size_t kMostShared = kLargestShared - 4096;  // without what the kernel declares

// Each thread block takes a chunk of rows, a team of threads a row. Sums of columns (of parameters whose index is
// simple) stay in the registers of their threads, or, where a thread block holds one long row, in shared memory.
template <class S, class Config, bool Sums>
__global__ void __launch_bounds__(Config::kMulti ? kHeldThreads : kTeamThreads)
    held_gradient(const __grid_constant__ GradientArguments<Wide<S>> a) {
  using T = Wide<S>;
  constexpr int kWide = Config::kWide, kSteps = Config::kSteps;
  constexpr bool kHeldSums = Sums && !Config::kMulti;
  WEFT_SHARED(T[4 * kHeldBlocks], shared);
  WEFT_DYNAMIC_SHARED(T, columns);
  RowPlace<Config> at(a.n);
  const int whole = at.count, blocks = int(reduction::block_count(a.n));
  const int teams = Config::kMulti ? 1 : int(blockDim.x) / Config::kGroup,
            team = Config::kMulti ? 0 : int(threadIdx.x) / Config::kGroup;
  const bool weighs = a.weight.values != nullptr;
  T held_gw[kHeldSums ? kSteps : 1][kWide], held_gb[kHeldSums ? kSteps : 1][kWide];
  if constexpr (kHeldSums) {
#pragma unroll
    for (int s = 0; s < kSteps; ++s)
#pragma unroll
      for (int k = 0; k < kWide; ++k) held_gw[s][k] = held_gb[s][k] = T(0);
  } else if constexpr (Sums) {
    for (i64 i = threadIdx.x; i < 2 * a.n; i += blockDim.x) columns[i] = T(0);
    __syncthreads();
  }
  const i64 begin = i64(blockIdx.x) * a.chunk, end = begin + a.chunk < a.rows ? begin + a.chunk : a.rows;
  int turn = 0;
  for (i64 r = begin; r < end; r += teams) {
    at.row = r + team < end ? r + team : end - 1;
    at.count = r + team < end ? whole : 0;
    HeldRow<Config, S> g, x;
    g.read(at, static_cast<const S*>(a.g) + at.row * a.n, T(0));
    x.read(at, static_cast<const S*>(a.x) + at.row * a.n, T(0));
    const T mean = a.means[at.row], scale = a.scales[at.row];
    const i64 base = a.index.base(at.row);
    T of_u[kWide], of_uh[kWide];
#pragma unroll
    for (int k = 0; k < kWide; ++k) of_u[k] = of_uh[k] = T(0);
      // No condition on the place, or the compiler waits for each load beside its use: beyond the row g is 0.
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
      const int i = s * 32 + at.lane * kWide;
      T w[kWide] = {};
      if (Sums ? weighs : weighs && i < whole)
        parameters_at<S, Sums>(a.weight, a.index, base, i < whole ? at.first + i : 0, w);
#pragma unroll
      for (int k = 0; k < kWide; ++k) {
        const T gk = g.at(s, k), h = (x.at(s, k) - mean) * scale, u = weighs ? gk * w[k] : gk;
        of_uh[k] = of_uh[k] + u * h;
        of_u[k] = of_u[k] + u;
        if constexpr (kHeldSums) {
          held_gw[s][k] += gk * h;
          held_gb[s][k] += gk;
        } else if constexpr (Sums) {
          if (i < at.count) {
            columns[at.first + i + k] += gk * h;
            columns[a.n + at.first + i + k] += gk;
          }
        }
      }
    }
    if (a.gx == nullptr) continue;
    T* slot = shared + turn * 2 * kHeldBlocks;
    turn ^= 1;  // the values of the last row may still be read
    const T mean_uh = row_total<Config, reduction::Sum<T>>(of_uh, slot, blocks) / a.count;
    const T mean_u =
        a.centred ? row_total<Config, reduction::Sum<T>>(of_u, slot + kHeldBlocks, blocks) / a.count : T(0);
    S* gx = static_cast<S*>(a.gx) + at.row * a.n;
    at.each([&](int s, int i) {
      T w[kWide] = {};
      if (weighs) parameters_at<S, Sums>(a.weight, a.index, base, i, w);
      T value[kWide];
#pragma unroll
      for (int k = 0; k < kWide; ++k) {
        const T h = (x.at(s, k) - mean) * scale, u = weighs ? g.at(s, k) * w[k] : g.at(s, k);
        value[k] = scale * (u - mean_u - h * mean_uh);
      }
      *reinterpret_cast<Few<S, kWide>*>(gx + i) = store_all<S, Few<S, kWide>>(value);
    });
  }
  if constexpr (Sums) {
    // Of the teams one after the other, in shared memory.
    for (int t = 0; kHeldSums && t < teams; ++t) {
      if (t > 0) __syncthreads();
      if (team != t) continue;
#pragma unroll
      for (int s = 0; s < kSteps; ++s) {
        const int i = s * 32 + at.lane * kWide;
        if (i >= whole) continue;
#pragma unroll
        for (int k = 0; k < kWide; ++k) {
          T *gw = columns + i + k, *gb = gw + a.n;
          if constexpr (kHeldSums) {
            *gw = t == 0 ? held_gw[s][k] : *gw + held_gw[s][k];
            *gb = t == 0 ? held_gb[s][k] : *gb + held_gb[s][k];
          }
        }
      }
    }
    __syncthreads();
    T* out = a.partial + i64(blockIdx.x) * 2 * a.n;
    for (i64 i = threadIdx.x; i < 2 * a.n; i += blockDim.x) out[i] = columns[i];
  }
}

// A chunk of rows by teams; the next row is on its way meanwhile. Sums of columns stay in registers.
template <class S>
__global__ void __launch_bounds__(kTeamBlock) team_gradient(const __grid_constant__ GradientArguments<float> a) {
  WEFT_DYNAMIC_SHARED(float, shared);
  const TeamPlace at(a.n);
  const bool weighs = a.weight.values != nullptr;
  float w[2][4], gw[2][4], gb[2][4];
#pragma unroll
  for (int p = 0; p < 2; ++p) {
#pragma unroll
    for (int k = 0; k < 4; ++k) w[p][k] = 1.0f, gw[p][k] = gb[p][k] = 0.0f;
    if (weighs && at.inside(p)) parameters_at<S, true>(a.weight, a.index, 0, at.at(p), w[p]);
  }
  const S *g = static_cast<const S*>(a.g), *x = static_cast<const S*>(a.x);
  i64 row = i64(blockIdx.x) * a.chunk;
  const i64 end = row + a.chunk < a.rows ? row + a.chunk : a.rows;
  TeamRow<S> of_g, of_x, next_g, next_x;
  of_g.read(at, g + row * a.n);
  of_x.read(at, x + row * a.n);
  for (; row < end; ++row) {
    if (row + 1 < end) {
      next_g.read(at, g + (row + 1) * a.n);
      next_x.read(at, x + (row + 1) * a.n);
    }
    const float mean = a.means[row], scale = a.scales[row];
    float values[2][2][4], means[2];
#pragma unroll
    for (int p = 0; p < 2; ++p)
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const float gk = of_g.at(p, k), h = at.inside(p) ? (of_x.at(p, k) - mean) * scale : 0.0f;
        const float u = weighs ? gk * w[p][k] : gk;
        values[0][p][k] = u * h;
        values[1][p][k] = u;
        gw[p][k] += gk * h;
        gb[p][k] += gk;
      }
    if (a.gx != nullptr) {
      if (a.centred)
        team_sums(shared, at, values, means);
      else
        team_sums(shared, at, reinterpret_cast<const float(&)[1][2][4]>(values), reinterpret_cast<float(&)[1]>(means));
      const float mean_uh = means[0] / a.count, mean_u = a.centred ? means[1] / a.count : 0.0f;
#pragma unroll
      for (int p = 0; p < 2; ++p)
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          const float h = (of_x.at(p, k) - mean) * scale;
          values[0][p][k] = scale * (values[1][p][k] - mean_u - h * mean_uh);
        }
      write_team(at, static_cast<S*>(a.gx) + row * a.n, values[0]);
    }
    of_g = next_g;
    of_x = next_x;
  }
  if (a.partial == nullptr) return;
  float* out = a.partial + i64(blockIdx.x) * 2 * a.n;
#pragma unroll
  for (int p = 0; p < 2; ++p)
#pragma unroll
    for (int k = 0; k < 4; ++k)
      if (at.inside(p)) {
        out[at.at(p) + k] = gw[p][k];
        out[a.n + at.at(p) + k] = gb[p][k];
      }
}

template <class S>
__global__ void __launch_bounds__(kLongThreads) long_gradient(GradientArguments<Wide<S>> a) {
  using T = Wide<S>;
  WEFT_SHARED(T[32], shared);
  const i64 row = blockIdx.x;
  const S *g = static_cast<const S*>(a.g) + row * a.n, *x = static_cast<const S*>(a.x) + row * a.n;
  const T mean = a.means[row], scale = a.scales[row];
  const i64 base = a.index.base(row);
  auto u = [&](i64 i) {
    const T gi = load(g[i]);
    return a.weight.values ? gi * parameter_at<S>(a.weight, base + a.index.within(i)) : gi;
  };
  auto h = [&](i64 i) { return (load(x[i]) - mean) * scale; };
  const T mean_uh = block_row<reduction::Sum<T>, T>(a.n, shared, [&](i64 i) { return u(i) * h(i); }) / a.count;
  const T mean_u = a.centred ? block_row<reduction::Sum<T>, T>(a.n, shared, u) / a.count : T(0);
  S* gx = static_cast<S*>(a.gx) + row * a.n;
  for (i64 i = threadIdx.x; i < a.n; i += kLongThreads) gx[i] = store<S>(scale * (u(i) - mean_u - h(i) * mean_uh));
}

// Columns of long rows: a thread each, of one chunk of rows.
template <class S>
__global__ void __launch_bounds__(kThreads) column_sums(GradientArguments<Wide<S>> a) {
  using T = Wide<S>;
  const i64 i = i64(blockIdx.x) * kThreads + threadIdx.x, begin = i64(blockIdx.y) * a.chunk,
            end = begin + a.chunk < a.rows ? begin + a.chunk : a.rows;
  if (i >= a.n) return;
  T gw = T(0), gb = T(0);
  for (i64 r = begin; r < end; ++r) {
    const T g = load(static_cast<const S*>(a.g)[r * a.n + i]);
    gw += g * ((load(static_cast<const S*>(a.x)[r * a.n + i]) - a.means[r]) * a.scales[r]);
    gb += g;
  }
  T* out = a.partial + i64(blockIdx.y) * 2 * a.n;
  out[i] = gw;
  out[a.n + i] = gb;
}

// Stretches of a row that share a value: a thread block each, or (short ones) a thread. partial: [images, 2, values].
template <class S>
__global__ void __launch_bounds__(kThreads) stretch_sums(GradientArguments<Wide<S>> a, i64 stretches, bool by_thread) {
  using T = Wide<S>;
  WEFT_SHARED(T[32], shared);
  const i64 stretch = by_thread ? i64(blockIdx.x) * blockDim.x + threadIdx.x : blockIdx.x;
  if (stretch >= stretches) return;
  const i64 row = stretch / a.index.per_row, values = a.index.per_row * a.index.cycle, span = a.index.span;
  const S *g = static_cast<const S*>(a.g) + stretch * span, *x = static_cast<const S*>(a.x) + stretch * span;
  const T mean = a.means[row], scale = a.scales[row];
  auto both = [&](i64 i) { return load(g[i]) * ((load(x[i]) - mean) * scale); };
  auto one = [&](i64 i) { return load(g[i]); };
  T* out = a.partial + stretch / values * 2 * values + stretch % values;
  if (by_thread) {
    out[0] = reduction::block<reduction::Sum<T>, T>(span, both);
    out[values] = reduction::block<reduction::Sum<T>, T>(span, one);
    return;
  }
  const T gw = block_row<reduction::Sum<T>, T>(span, shared, both),
          gb = block_row<reduction::Sum<T>, T>(span, shared, one);
  if (threadIdx.x == 0) {
    out[0] = gw;
    out[values] = gb;
  }
}

template <class T>
__global__ void __launch_bounds__(1024)
    chunk_sums(const T* partial, i64 chunks, i64 columns, void* low, DType low_type, void* high, DType high_type) {
  WEFT_SHARED(T[32 * 33], tile);
  const int x = threadIdx.x % 32, lane = threadIdx.x / 32;
  i64 column = i64(blockIdx.x) * 32 + x;
  T sum = T(0);
  if (column < columns)
    for (i64 c = lane; c < chunks; c += 32) sum += partial[c * columns + column];
  tile[lane * 33 + x] = sum;
  __syncthreads();
  sum = warp_tree<reduction::Sum<T>>(tile[x * 33 + lane]);
  column = i64(blockIdx.x) * 32 + lane;
  if (x != 0 || column >= columns) return;
  const bool first = column < columns / 2;
  if (void* out = first ? low : high)
    store_as(out, first ? column : column - columns / 2, first ? low_type : high_type, sum);
}

template <class S>
void run(const OpCall& c) {
  using T = Wide<S>;
  const auto& attrs = c.as<NormAttrs>();
  const Tensor x = dense(c.in[1]), g = dense_as(c.in[0], x.dtype());
  const NormParameterOf weight(c.in[2], x.dtype());
  const NormIndex index(attrs);
  const bool sums = c.out[1].defined() || c.out[2].defined();
  GradientArguments<T> a{g.impl()->data,
                         x.impl()->data,
                         c.out[0].defined() ? c.out[0].impl()->data : nullptr,
                         nullptr,
                         static_cast<const T*>(c.in[3].impl()->data),
                         static_cast<const T*>(c.in[4].impl()->data),
                         weight.value,
                         index,
                         attrs.rows,
                         attrs.n,
                         1,
                         T(attrs.n),
                         attrs.centred};
  const i64 n = attrs.n, rows = attrs.rows;
  const bool aligned = aligned16(a.g) && aligned16(a.x) && weight.aligned() && (a.gx == nullptr || aligned16(a.gx));
  // Rows in registers, and the sums of the parameters in the same pass where they belong to columns.
  const bool together = sums && index.simple;
  bool summed = false, done = false;
  if constexpr (sizeof(S) < 8)
    if (index.simple && for_teams<S>(n, aligned)) {
      const int teams = teams_of(n);
      i64 blocks = team_blocks(rows, teams);
      a.chunk = (rows + blocks - 1) / blocks;
      blocks = (rows + a.chunk - 1) / a.chunk;
      const Workspace partial(sums ? size_t(blocks * 2 * n) * sizeof(T) : 0);
      if (sums) a.partial = partial.as<T>();
      launch(team_gradient<S>, dim3(unsigned(blocks)), unsigned(teams * kTeam), team_shared(teams, 2), current_stream(),
             a);
      if (sums) sum_chunks(a.partial, kDTypeOf<T>, blocks, 2 * n, c.out[1], c.out[2]);
      return;
    }
  // With the sums of parameters whose index is simple, or without sums and for any index.
  const auto hold = [&](auto with_sums) {
    constexpr bool kSums = decltype(with_sums)::value;
    constexpr RowKinds kKinds = kSums ? RowKinds::no_pairs : RowKinds::no_quads_beyond_256;
    with_row_config<S, 2, kKinds>(rows, n, aligned, [&](auto config, dim3, dim3 block) {
      using Config = decltype(config);
      if constexpr (!Config::kMulti) block = dim3(kTeamThreads);
      const i64 teams = Config::kMulti ? 1 : kTeamThreads / Config::kGroup;
      size_t shared = kSums ? size_t(2 * n) * sizeof(T) : 0;
      // With what the kernel declares it may be more than it gets unasked.
      if (shared > kDefaultShared - 8192 && shared <= kDefaultShared) shared = kDefaultShared + 16;
      if (shared > kMostShared) return;
      const i64 most = !kSums ? i64(1) << 30 : n > 4096 ? 264 : 528;
      const i64 chunks = std::min((rows + teams - 1) / teams, most);
      a.chunk = (rows + chunks - 1) / chunks;
      const i64 blocks = (rows + a.chunk - 1) / a.chunk;
      if constexpr (!kSums) {
        launch(held_gradient<S, Config, false>, dim3(unsigned(blocks)), block, 0, current_stream(), a);
      } else {
        const Workspace partial(size_t(blocks * 2 * n) * sizeof(T));
        a.partial = partial.as<T>();
        launch(held_gradient<S, Config, true>, dim3(unsigned(blocks)), block, shared, current_stream(), a);
        sum_chunks(a.partial, kDTypeOf<T>, blocks, 2 * n, c.out[1], c.out[2]);
        summed = true;
      }
      done = true;
    });
  };
  if (together)
    hold(std::true_type());
  else if (a.gx != nullptr)
    hold(std::false_type());
  if (!done && a.gx != nullptr) launch(long_gradient<S>, dim3(unsigned(rows)), kLongThreads, 0, current_stream(), a);
  if (!sums || summed) return;
  if (index.simple) {
    a.chunk = std::max<i64>(16, (rows + 63) / 64);
    const i64 chunks = (rows + a.chunk - 1) / a.chunk;
    const Workspace partial(size_t(chunks * 2 * n) * sizeof(T));
    a.partial = partial.as<T>();
    launch(column_sums<S>, dim3(unsigned((n + kThreads - 1) / kThreads), unsigned(chunks)), kThreads, 0,
           current_stream(), a);
    return sum_chunks(a.partial, kDTypeOf<T>, chunks, 2 * n, c.out[1], c.out[2]);
  }
  const i64 stretches = rows * index.per_row, values = index.per_row * index.cycle;
  const Workspace partial(size_t(2 * stretches) * sizeof(T));
  a.partial = partial.as<T>();
  const bool by_thread = index.span < 32;
  const i64 blocks = by_thread ? (stretches + kThreads - 1) / kThreads : stretches;
  const int threads = by_thread || index.span > 4096 ? kThreads : 32;
  launch(stretch_sums<S>, dim3(unsigned(blocks)), threads, 0, current_stream(), a, stretches, by_thread);
  sum_chunks(a.partial, kDTypeOf<T>, stretches / values, 2 * values, c.out[1], c.out[2]);
}

}  // namespace

void sum_chunks(const void* partial, DType dtype, i64 chunks, i64 columns, const Tensor& low, const Tensor& high) {
  void *to_low = low.defined() ? low.impl()->data : nullptr, *to_high = high.defined() ? high.impl()->data : nullptr;
  const DType low_type = low.defined() ? low.dtype() : dtype, high_type = high.defined() ? high.dtype() : dtype;
  const dim3 grid(unsigned((columns + 31) / 32));
  if (dtype == DType::f64)
    launch(chunk_sums<double>, grid, 1024, 0, current_stream(), static_cast<const double*>(partial), chunks, columns,
           to_low, low_type, to_high, high_type);
  else
    launch(chunk_sums<float>, grid, 1024, 0, current_stream(), static_cast<const float*>(partial), chunks, columns,
           to_low, low_type, to_high, high_type);
}

void normalize_rows_backward(const OpCall& c) {
  const auto& attrs = c.as<NormAttrs>();
  if (attrs.rows == 0 || attrs.n == 0) {
    for (int k = 1; k < 3; ++k) {
      Tensor out = c.out[k];
      if (out.defined()) out.zero_();
    }
    return;
  }
  const bool known = with_floating(c.in[1].dtype(), [&](auto s) { run<typename decltype(s)::type>(c); });
  if (!known) WEFT_FAIL("{}: no CUDA kernel for {}", c.op.name, c.in[1].dtype());
}

}  // namespace weft::gpu
