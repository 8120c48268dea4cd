#include "kernels/cuda/norm.cuh"

#include "core/error.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/team_rows.cuh"

// layer_norm, rms_norm, group_norm: the bits of kernels/cpu/norm.cpp.
namespace weft::gpu {
namespace {

template <class T>
struct NormArguments {
  const void* x;
  void* y;
  T *means, *scales;
  NormParameter weight, bias;
  NormIndex index;
  i64 rows, n;
  T count, eps;
  bool centred;
};

template <class T>
WEFT_FN T affine(T normal, bool has_weight, T weight, bool adds, T bias) {
  if (has_weight) normal = normal * weight;
  if (adds) normal = normal + bias;
  return normal;
}

template <class S, class Config, bool Simple>
__global__ void __launch_bounds__(kHeldThreads) held_norm(NormArguments<Wide<S>> a) {
  using T = Wide<S>;
  WEFT_SHARED(T[2 * kHeldBlocks], shared);
  RowPlace<Config> at(a.n);
  if (at.row >= a.rows) at.row = a.rows - 1, at.count = 0;
  const int blocks = int(reduction::block_count(a.n));
  HeldRow<Config, S> x;
  x.read(at, static_cast<const S*>(a.x) + at.row * a.n, T(0));
  T mean = T(0);
  if (a.centred)
    mean = row_total_of<Config, reduction::Sum<T>>(shared, blocks, [&](int s, int k) { return x.at(s, k); }) / a.count;
  T lanes[Config::kWide];
#pragma unroll
  for (int k = 0; k < Config::kWide; ++k) lanes[k] = T(0);
  at.each([&](int s, int) {
#pragma unroll
    for (int k = 0; k < Config::kWide; ++k) {
      const T d = x.at(s, k) - mean;
      lanes[k] = lanes[k] + d * d;
    }
  });
  const T squares = row_total<Config, reduction::Sum<T>>(lanes, shared + kHeldBlocks, blocks);
  const T scale = T(1) / math::sqrt(squares / a.count + a.eps);
  if (at.first == 0 && at.lane == 0 && at.count > 0) {
    a.means[at.row] = mean;
    a.scales[at.row] = scale;
  }
  const bool weighs = a.weight.values != nullptr, biased = a.bias.values != nullptr, adds = biased || !Simple;
  const i64 base = a.index.base(at.row);
  S* y = static_cast<S*>(a.y) + at.row * a.n;
  at.each([&](int s, int i) {
    T w[Config::kWide], b[Config::kWide];
#pragma unroll
    for (int k = 0; k < Config::kWide; ++k) w[k] = T(1), b[k] = T(0);
    if (weighs) parameters_at<S, Simple>(a.weight, a.index, base, i, w);
    if (biased) parameters_at<S, Simple>(a.bias, a.index, base, i, b);
    T value[Config::kWide];
#pragma unroll
    for (int k = 0; k < Config::kWide; ++k) value[k] = affine((x.at(s, k) - mean) * scale, weighs, w[k], adds, b[k]);
    *reinterpret_cast<Few<S, Config::kWide>*>(y + i) = store_all<S, Few<S, Config::kWide>>(value);
  });
}

// Rows of one parameter each element (index.simple) by teams; the next row is on its way meanwhile.
template <class S>
__global__ void __launch_bounds__(kTeamBlock) team_norm(const __grid_constant__ NormArguments<float> a) {
  WEFT_DYNAMIC_SHARED(float, shared);
  const TeamPlace at(a.n);
  const bool weighs = a.weight.values != nullptr, biased = a.bias.values != nullptr;
  float w[2][4], b[2][4];
#pragma unroll
  for (int p = 0; p < 2; ++p) {
#pragma unroll
    for (int k = 0; k < 4; ++k) w[p][k] = 1.0f, b[p][k] = 0.0f;
    if (weighs && at.inside(p)) parameters_at<S, true>(a.weight, a.index, 0, at.at(p), w[p]);
    if (biased && at.inside(p)) parameters_at<S, true>(a.bias, a.index, 0, at.at(p), b[p]);
  }
  const S* x = static_cast<const S*>(a.x);
  i64 row = blockIdx.x;
  TeamRow<S> now, next;
  now.read(at, x + row * a.n);
  for (; row < a.rows; row += gridDim.x) {
    if (row + gridDim.x < a.rows) next.read(at, x + (row + gridDim.x) * a.n);
    float values[1][2][4], sum[1], mean = 0.0f;
    if (a.centred) {
#pragma unroll
      for (int p = 0; p < 2; ++p)
#pragma unroll
        for (int k = 0; k < 4; ++k) values[0][p][k] = now.at(p, k);
      team_sums(shared, at, values, sum);
      mean = sum[0] / a.count;
    }
#pragma unroll
    for (int p = 0; p < 2; ++p)
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const float d = now.at(p, k) - mean;
        values[0][p][k] = at.inside(p) ? d * d : 0.0f;
      }
    team_sums(shared, at, values, sum);
    const float scale = 1.0f / math::sqrt(sum[0] / a.count + a.eps);
    if (threadIdx.x == 0) {
      a.means[row] = mean;
      a.scales[row] = scale;
    }
#pragma unroll
    for (int p = 0; p < 2; ++p)
#pragma unroll
      for (int k = 0; k < 4; ++k)
        values[0][p][k] = affine((now.at(p, k) - mean) * scale, weighs, w[p][k], biased, b[p][k]);
    write_team(at, static_cast<S*>(a.y) + row * a.n, values[0]);
    now = next;
  }
}

template <class S>
__global__ void __launch_bounds__(kLongThreads) long_norm(NormArguments<Wide<S>> a) {
  using T = Wide<S>;
  WEFT_SHARED(T[32], shared);
  const i64 row = blockIdx.x;
  const S* x = static_cast<const S*>(a.x) + row * a.n;
  S* y = static_cast<S*>(a.y) + row * a.n;
  T mean = T(0);
  if (a.centred) mean = block_row<reduction::Sum<T>, T>(a.n, shared, [&](i64 i) { return load(x[i]); }) / a.count;
  const T squares = block_row<reduction::Sum<T>, T>(a.n, shared, [&](i64 i) {
    const T d = load(x[i]) - mean;
    return d * d;
  });
  const T scale = T(1) / math::sqrt(squares / a.count + a.eps);
  if (threadIdx.x == 0) {
    a.means[row] = mean;
    a.scales[row] = scale;
  }
  const bool weighs = a.weight.values != nullptr, biased = a.bias.values != nullptr, adds = biased || !a.index.simple;
  const i64 base = a.index.base(row);
  for (i64 i = threadIdx.x; i < a.n; i += kLongThreads) {
    const i64 k = base + a.index.within(i);
    const T w = weighs ? parameter_at<S>(a.weight, k) : T(1), b = biased ? parameter_at<S>(a.bias, k) : T(0);
    y[i] = store<S>(affine((load(x[i]) - mean) * scale, weighs, w, adds, b));
  }
}

}  // namespace

void normalize_rows(const OpCall& c) {
  const auto& attrs = c.as<NormAttrs>();
  if (attrs.rows == 0 || attrs.n == 0) return;
  const Tensor x = dense(c.in[0]);
  const NormParameterOf weight(c.in[1], x.dtype()), bias(c.in[2], x.dtype());
  const bool known = with_floating(x.dtype(), [&](auto s) {
    using S = typename decltype(s)::type;
    using T = Wide<S>;
    const NormArguments<T> a{x.impl()->data,
                             c.out[0].impl()->data,
                             static_cast<T*>(c.out[1].impl()->data),
                             static_cast<T*>(c.out[2].impl()->data),
                             weight.value,
                             bias.value,
                             NormIndex(attrs),
                             attrs.rows,
                             attrs.n,
                             T(attrs.n),
                             T(attrs.eps),
                             attrs.centred};
    const bool aligned = aligned16(a.x) && aligned16(a.y) && weight.aligned() && bias.aligned();
    if constexpr (sizeof(S) < 8)
      if (a.index.simple && for_teams<S>(a.n, aligned)) {
        const int teams = teams_of(a.n);
        return launch(team_norm<S>, dim3(unsigned(team_blocks(a.rows, teams))), unsigned(teams * kTeam),
                      team_shared(teams, 1), current_stream(), a);
      }
    const auto hold = [&](auto simple) {  // longer simple rows of aligned quads went to teams
      constexpr bool kSimple = decltype(simple)::value;
      constexpr RowKinds kKinds = kSimple ? RowKinds::no_pairs : RowKinds::no_quads_beyond_256;
      return with_row_config<S, 1, kKinds>(a.rows, a.n, aligned, [&](auto config, dim3 grid, dim3 block) {
        launch(held_norm<S, decltype(config), kSimple>, grid, block, 0, current_stream(), a);
      });
    };
    const bool held = a.index.simple ? hold(std::true_type()) : hold(std::false_type());
    if (!held) launch(long_norm<S>, dim3(unsigned(a.rows)), kLongThreads, 0, current_stream(), a);
  });
  if (!known) WEFT_FAIL("{}: no CUDA kernel for {}", c.op.name, x.dtype());
}

}  // namespace weft::gpu
