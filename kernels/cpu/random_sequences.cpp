#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "core/ops/philox.h"
#include "core/ops/random.h"
#include "core/parallel.h"
#include "kernels/cpu/random.h"

// Random numbers that need an unknown number of words each, or depend on one another.
namespace weft::cpu {
namespace {

// The words of one counter and its lanes, one after the other.
class Stream {
 public:
  Stream(uint64_t seed, uint64_t counter) : seed_(seed), counter_(counter) {}
  uint64_t next() {
    if (at_ == 2) {
      words_ = rng::philox(seed_, counter_, lane_++);
      at_ = 0;
    }
    int i = 2 * at_++;
    return static_cast<uint64_t>(words_.w[i]) << 32 | words_.w[i + 1];
  }
  double unit() { return rng::unit(next()); }
  double open() { return rng::open_unit(next()); }

 private:
  uint64_t seed_, counter_, lane_ = 0;
  rng::Words words_{};
  int at_ = 2;
};

// Small rates: products of uniforms (Knuth). Large ones: transformed rejection, algorithm PTRS of Hoermann, "The
// transformed rejection method for generating Poisson random variables" (1993).
double poisson_one(double rate, Stream& s) {
  if (rate == 0) return 0;
  if (rate < 10) {
    const double limit = std::exp(-rate);
    double product = 1;
    int64_t k = 0;
    while (true) {
      product *= s.unit();
      if (product <= limit) return static_cast<double>(k);
      ++k;
    }
  }
  const double b = 0.931 + 2.53 * std::sqrt(rate), a = -0.059 + 0.02483 * b, inverse = 1.1239 + 1.1328 / (b - 3.4),
               v_r = 0.9277 - 3.6224 / (b - 2), log_rate = std::log(rate);
  while (true) {
    double u = s.unit() - 0.5, v = s.open(), us = 0.5 - std::fabs(u),
           k = std::floor((2 * a / us + b) * u + rate + 0.43);
    if (us >= 0.07 && v <= v_r) return k;
    if (k < 0 || (us < 0.013 && v > us)) continue;
    int sign;  // std::lgamma would store it in a variable that all threads share
    if (std::log(v) + std::log(inverse) - std::log(a / (us * us) + b) <= k * log_rate - rate - lgamma_r(k + 1, &sign))
      return k;
  }
}

}  // namespace

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
      out[i] = poisson_one(rate[i], s);
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
                   "multinomial: {} samples without replacement, but only {} categories have a weight", samples,
                   possible);
        // The smallest of exponentials with rates w: a draw without replacement.
        for (int64_t i = 0; i < k; ++i)
          sum[static_cast<size_t>(i)] =
              w[i] > 0 ? -std::log(Stream(a.state.seed, first + static_cast<uint64_t>(i)).open()) / w[i] : INFINITY;
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
