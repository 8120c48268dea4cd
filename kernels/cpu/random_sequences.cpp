#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "core/ops/random.h"
#include "core/ops/random_draws.h"
#include "core/parallel.h"
#include "kernels/cpu/random.h"

// Random numbers that need an unknown number of words each, or depend on one another.
namespace weft::cpu {
using rng::Stream;

void poisson(const OpCall& c) {
  const auto& a = c.as<SeededOp::Attrs>();
  const double* rate = c.in[0].data<double>();
  double* out = c.out[0].data<double>();
  const int64_t n = c.in[0].numel();
  for (int64_t i = 0; i < n; ++i)
    WEFT_CHECK(rate[i] >= 0 && rate[i] < INFINITY, "poisson: rates must be finite and >= 0, got {}", rate[i]);
  parallel_for(n, 1024, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Stream s(a.state.seed, a.state.offset + static_cast<uint64_t>(i));
      out[i] = rng::poisson(rate[i], s);
    }
  });
}

void multinomial(const OpCall& c) {
  const auto& a = c.as<SeededOp::Attrs>();
  const int64_t k = c.in[0].sizes().back(), samples = c.out[0].sizes().back(), rows = c.in[0].numel() / k;
  const double* weights = c.in[0].data<double>();
  int64_t* out = c.out[0].data<int64_t>();
  parallel_for(rows, 1, [&](int64_t begin, int64_t end) {
    std::vector<double> sum(static_cast<size_t>(k));
    std::vector<int64_t> order;
    for (int64_t r = begin; r < end; ++r) {
      const double* w = weights + r * k;
      double total = 0;
      int64_t possible = 0;
      for (int64_t i = 0; i < k; ++i) {
        WEFT_CHECK(w[i] >= 0 && w[i] < INFINITY, "multinomial: weights must be finite and >= 0, got {}", w[i]);
        total += w[i];
        possible += w[i] > 0;
        sum[static_cast<size_t>(i)] = total;
      }
      WEFT_CHECK(possible > 0, "multinomial: all weights of a row are 0");
      const uint64_t first = a.state.offset + static_cast<uint64_t>(r * (a.replacement ? samples : k));
      if (a.replacement) {
        for (int64_t i = 0; i < samples; ++i) {
          double u = Stream(a.state.seed, first + static_cast<uint64_t>(i)).unit() * total;
          auto at = std::upper_bound(sum.begin(), sum.end(), u);
          // u may round up to the total: then the last category with a weight.
          if (at == sum.end()) at = std::lower_bound(sum.begin(), sum.end(), total);
          out[r * samples + i] = at - sum.begin();
        }
      } else {
        WEFT_CHECK(possible >= samples,
                   "multinomial: only {} categories have a weight, too few for {} samples without replacement",
                   possible, samples);
        // The smallest of exponentials with rates w: a draw without replacement.
        for (int64_t i = 0; i < k; ++i)
          sum[static_cast<size_t>(i)] = rng::exponential(w[i], a.state.seed, first + static_cast<uint64_t>(i));
        order.resize(static_cast<size_t>(k));
        std::iota(order.begin(), order.end(), int64_t{0});
        std::partial_sort(order.begin(), order.begin() + samples, order.end(), [&](int64_t x, int64_t y) {
          double ex = sum[static_cast<size_t>(x)], ey = sum[static_cast<size_t>(y)];
          return ex != ey ? ex < ey : x < y;
        });
        std::copy_n(order.begin(), samples, out + r * samples);
      }
    }
  });
}

// Fisher and Yates.
void randperm(const OpCall& c) {
  const auto& a = c.as<RandpermOp::Attrs>();
  int64_t* out = c.out[0].data<int64_t>();
  const int64_t n = c.out[0].numel();
  std::iota(out, out + n, int64_t{0});
  // Element i has 64 bits of counter i / 2.
  constexpr int64_t kBlock = 2 * rng::kGroupCounters;
  for (int64_t block = (n - 1) / kBlock; block >= 0; --block) {
    alignas(64) uint32_t words[rng::kGroupWords];
    detail::philox_group(a.state.seed, a.state.offset + static_cast<uint64_t>(block * rng::kGroupCounters), words);
    for (int64_t i = std::min(n, (block + 1) * kBlock) - 1; i >= std::max<int64_t>(1, block * kBlock); --i) {
      const int64_t counter = i % kBlock / 2, word = i % 2 * 2 * rng::kGroupCounters;
      const uint64_t bits =
          static_cast<uint64_t>(words[word + counter]) << 32 | words[word + rng::kGroupCounters + counter];
      std::swap(out[i], out[static_cast<int64_t>(rng::below(bits, static_cast<uint64_t>(i + 1)))]);
    }
  }
}

}  // namespace weft::cpu
