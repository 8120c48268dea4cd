#include "core/ops/random.h"

#include <cmath>
#include <limits>
#include <random>
#include <utility>

#include "core/error.h"
#include "core/ops/philox.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/require.h"
#include "core/ops/softmax.h"
#include "core/recompute.h"
#include "core/thread_guards.h"
#include "core/thread_state.h"

namespace weft {

const OpRecord RandomOp::record{.name = "random", .cpu = cpu::random_fill, .rule = rules::random_fill};
const OpRecord SeededOp::bernoulli{.name = "bernoulli", .cpu = cpu::bernoulli};
const OpRecord SeededOp::poisson{.name = "poisson", .cpu = cpu::poisson};
const OpRecord SeededOp::multinomial{.name = "multinomial", .cpu = cpu::multinomial};
const OpRecord RandpermOp::record{.name = "randperm", .cpu = cpu::randperm};

Generator& Generator::manual_seed(uint64_t seed) {
  seed_ = seed;
  offset_ = 0;
  return *this;
}
void Generator::set_state(const State& s) {
  seed_ = s.seed;
  offset_ = s.offset;
}

namespace {
constinit thread_local Generator* tls_generator = nullptr;
constinit thread_local int tls_recomputing = 0;
}  // namespace
namespace detail {
Recompute::Recompute(const Generator::State& start) : before_(std::exchange(tls_generator, &generator_)) {
  generator_.set_state(start);
  ++tls_recomputing;
}
Recompute::~Recompute() {
  tls_generator = before_;
  --tls_recomputing;
}
bool is_recomputing() { return tls_recomputing > 0; }
}  // namespace detail

Generator& default_generator() {
  if (tls_generator) [[unlikely]]
    return *tls_generator;
  static Generator generator([] {
    std::random_device device;
    return (static_cast<uint64_t>(device()) << 32 | device()) & ((uint64_t{1} << 53) - 1);
  }());
  return generator;
}
GeneratorGuard::GeneratorGuard(Generator& generator) : before_(std::exchange(tls_generator, &generator)) {}
GeneratorGuard::~GeneratorGuard() { tls_generator = before_; }

Generator& manual_seed(uint64_t seed) { return default_generator().manual_seed(seed); }

Generator::State detail::take_state(Generator* generator, int64_t n, DType dtype) {
  int64_t group = itemsize(dtype) == 8 ? rng::kGroupWords / 2 : rng::kGroupWords;
  return (generator ? *generator : default_generator())
      .take(static_cast<uint64_t>((n + group - 1) / group * rng::kGroupCounters));
}

namespace {

Tensor& fill_random(Tensor& self, Distribution d, double a, double b, Generator* generator, int64_t low = 0,
                    uint64_t range = 0) {
  // Integers take 64 bits each only where 32 do not hold the range.
  DType words = d == Distribution::integers  ? (range == 0 || range > uint64_t{1} << 32 ? DType::i64 : DType::i32)
                : self.dtype() == DType::f64 ? DType::f64
                                             : DType::f32;
  const Tensor in[1] = {self};
  dispatch_inplace(RandomOp::record, self, in,
                   RandomOp::Attrs{detail::take_state(generator, self.numel(), words), d, a, b, low, range});
  return self;
}
void check_floating(const Tensor& self, const char* op) {
  WEFT_CHECK_TYPE(is_floating(self.dtype()), "{}: needs a floating tensor, got {}", op, self);
}
Tensor with_grad(Tensor t, const TensorOptions& o) {
  if (o.requires_grad) t.set_requires_grad(true);
  return t;
}
TensorOptions plain(const TensorOptions& o) { return {.dtype = o.dtype, .device = o.device}; }

}  // namespace

Tensor& Tensor::uniform_(double from, double to, Generator* generator) {
  check_floating(*this, "uniform_");
  WEFT_CHECK(from <= to && std::isfinite(from) && std::isfinite(to) && std::isfinite(to - from),
             "uniform_: needs finite from <= to, got {} and {}", from, to);
  return fill_random(*this, Distribution::uniform, from, to, generator);
}
Tensor& Tensor::normal_(double mean, double std, Generator* generator) {
  check_floating(*this, "normal_");
  WEFT_CHECK(std >= 0, "normal_: std must be >= 0, got {}", std);
  return fill_random(*this, Distribution::normal, mean, std, generator);
}
Tensor& Tensor::log_normal_(double mean, double std, Generator* generator) {
  check_floating(*this, "log_normal_");
  WEFT_CHECK(std > 0, "log_normal_: std must be > 0, got {}", std);
  return fill_random(*this, Distribution::log_normal, mean, std, generator);
}
Tensor& Tensor::exponential_(double lambda, Generator* generator) {
  check_floating(*this, "exponential_");
  WEFT_CHECK(lambda > 0, "exponential_: lambda must be > 0, got {}", lambda);
  return fill_random(*this, Distribution::exponential, lambda, 0, generator);
}
Tensor& Tensor::cauchy_(double median, double sigma, Generator* generator) {
  check_floating(*this, "cauchy_");
  WEFT_CHECK(sigma > 0, "cauchy_: sigma must be > 0, got {}", sigma);
  return fill_random(*this, Distribution::cauchy, median, sigma, generator);
}
Tensor& Tensor::geometric_(double p, Generator* generator) {
  WEFT_CHECK(p > 0 && p < 1, "geometric_: p must lie in (0, 1), got {}", p);
  return fill_random(*this, Distribution::geometric, p, 0, generator);
}
Tensor& Tensor::bernoulli_(double p, Generator* generator) {
  WEFT_CHECK(p >= 0 && p <= 1, "bernoulli_: p must lie in [0, 1], got {}", p);
  return fill_random(*this, Distribution::bernoulli, p, 0, generator);
}
Tensor& Tensor::bernoulli_(const Tensor& p, Generator* generator) {
  WEFT_CHECK(p.defined() && is_floating(p.dtype()), "bernoulli_: p must be a floating tensor");
  NoGrad guard;
  return copy_(bernoulli(p.expand(sizes()), generator));
}
Tensor& Tensor::random_(std::optional<int64_t> from, std::optional<int64_t> to, Generator* generator) {
  // The largest integer up to which all are exact.
  auto top = [&]() -> int64_t {
    switch (dtype()) {
      case DType::f32:
        return int64_t{1} << 24;
      case DType::f64:
        return int64_t{1} << 53;
      case DType::bf16:
        return 1 << 8;
      case DType::f16:
        return 1 << 11;
      case DType::bool_:
        return 1;
      default:
        return static_cast<int64_t>((uint64_t{1} << (8 * itemsize(dtype()) - (dtype() == DType::u8 ? 0 : 1))) - 1);
    }
  };
  int64_t low = from && to ? *from : 0, last = to ? *to - 1 : from ? *from - 1 : top();
  if (from && !to) low = 0;
  WEFT_CHECK(low <= last, "random_: from ({}) must be smaller than to ({})", low, to ? *to : last + 1);
  WEFT_CHECK(is_floating(dtype()) ||
                 (low >= (dtype() == DType::u8 || dtype() == DType::bool_ ? 0 : -top() - 1) && last <= top()),
             "random_: [{}, {}] does not fit into {}", low, last, dtype());
  return fill_random(*this, Distribution::integers, 0, 0, generator, low,
                     static_cast<uint64_t>(last) - static_cast<uint64_t>(low) + 1);
}

Tensor rand(const Dims& sizes, const TensorOptions& o, Generator* generator) {
  return with_grad(empty(sizes, plain(o)).uniform_(0, 1, generator), o);
}
Tensor randn(const Dims& sizes, const TensorOptions& o, Generator* generator) {
  return with_grad(empty(sizes, plain(o)).normal_(0, 1, generator), o);
}
Tensor randint(int64_t low, int64_t high, const Dims& sizes, const TensorOptions& o, Generator* generator) {
  WEFT_CHECK(low < high, "randint: low ({}) must be smaller than high ({})", low, high);
  TensorOptions with = plain(o);
  with.dtype = o.dtype.value_or(DType::i64);
  return with_grad(empty(sizes, with).random_(low, high, generator), o);
}
Tensor randint(int64_t high, const Dims& sizes, const TensorOptions& o, Generator* generator) {
  return randint(0, high, sizes, o, generator);
}
Tensor randperm(int64_t n, const TensorOptions& o, Generator* generator) {
  WEFT_CHECK(n >= 0, "randperm: n must not be negative, got {}", n);
  Tensor out = detail::allocate({n}, DType::i64, detail::device_of(o));
  dispatch(RandpermOp::record, {Tensor()}, out, RandpermOp::Attrs{detail::take_state(generator, n, DType::i64)});
  return with_grad(out.to(o.dtype.value_or(DType::i64)), o);
}
Tensor rand_like(const Tensor& x, std::optional<DType> dtype, Generator* generator) {
  return empty_like(x, dtype).uniform_(0, 1, generator);
}
Tensor randn_like(const Tensor& x, std::optional<DType> dtype, Generator* generator) {
  return empty_like(x, dtype).normal_(0, 1, generator);
}
Tensor randint_like(const Tensor& x, int64_t low, int64_t high, std::optional<DType> dtype, Generator* generator) {
  WEFT_CHECK(low < high, "randint_like: low ({}) must be smaller than high ({})", low, high);
  return empty_like(x, dtype).random_(low, high, generator);
}

Tensor normal(const Tensor& mean, const Tensor& std, Generator* generator) {
  NoGrad guard;
  WEFT_CHECK_TYPE(is_floating(mean.dtype()) && is_floating(std.dtype()),
                  "normal: mean and std must be floating, got {} and {}", mean, std);
  detail::require(std.lt(0).logical_not(), "{}: std must be >= 0 everywhere", "normal");
  Dims shape = broadcast_shapes(mean.sizes(), std.sizes(), "normal");
  return randn(shape, {.dtype = result_type(mean, std), .device = mean.device()}, generator).mul_(std).add_(mean);
}
Tensor normal(const Tensor& mean, double std, Generator* generator) {
  NoGrad guard;
  return randn_like(mean, {}, generator).mul_(std).add_(mean);
}
Tensor normal(double mean, const Tensor& std, Generator* generator) {
  return normal(full({}, mean, {.dtype = std.dtype(), .device = std.device()}), std, generator);
}
Tensor normal(double mean, double std, const Dims& sizes, const TensorOptions& o, Generator* generator) {
  return with_grad(empty(sizes, plain(o)).normal_(mean, std, generator), o);
}

Tensor bernoulli(const Tensor& p, Generator* generator) {
  NoGrad guard;
  check_floating(p, "bernoulli");
  const Tensor in[1] = {p.contiguous()};
  Tensor out = detail::allocate(p.sizes(), p.dtype(), p.device());
  dispatch(SeededOp::bernoulli, in, out, SeededOp::Attrs{detail::take_state(generator, p.numel(), p.dtype()), false});
  return out;
}
Tensor bernoulli(const Tensor& x, double p, Generator* generator) { return empty_like(x).bernoulli_(p, generator); }
Tensor poisson(const Tensor& rate, Generator* generator) {
  NoGrad guard;
  check_floating(rate, "poisson");
  const Tensor in[1] = {rate.to(DType::f64).contiguous()};
  Tensor out = detail::allocate(rate.sizes(), DType::f64, rate.device());
  // One counter each; further words come from its lanes.
  dispatch(SeededOp::poisson, in, out, SeededOp::Attrs{detail::take_state(generator, rate.numel() * 4), false});
  return out.to(rate.dtype());
}
Tensor multinomial(const Tensor& weights, int64_t samples, bool replacement, Generator* generator) {
  NoGrad guard;
  check_floating(weights, "multinomial");
  WEFT_CHECK(weights.dim() == 1 || weights.dim() == 2, "multinomial: weights must have 1 or 2 dimensions, got {}",
             weights);
  int64_t categories = weights.sizes().back(), rows = weights.dim() == 2 ? weights.sizes()[0] : 1;
  WEFT_CHECK(samples > 0, "multinomial: needs at least one sample, got {}", samples);
  WEFT_CHECK(categories > 0, "multinomial: no categories in {}", weights);
  WEFT_CHECK(replacement || samples <= categories, "multinomial: cannot draw {} of {} categories without replacement",
             samples, categories);
  const Tensor in[1] = {weights.to(DType::f64).contiguous()};
  Dims sizes = weights.sizes();
  sizes.back() = samples;
  Tensor out = detail::allocate(sizes, DType::i64, weights.device());
  dispatch(
      SeededOp::multinomial, in, out,
      SeededOp::Attrs{detail::take_state(generator, rows * (replacement ? samples : categories) * 4), replacement});
  return out;
}

Tensor gumbel_softmax(const Tensor& logits, double tau, bool hard, int64_t dim, Generator* generator) {
  check_floating(logits, "gumbel_softmax");
  WEFT_CHECK(tau > 0, "gumbel_softmax: tau must be > 0, got {}", tau);
  Tensor noise = empty_like(logits).exponential_(1, generator).log();
  Tensor y = softmax(logits.sub(noise).div(tau), dim);
  if (!hard) return y;
  Tensor best = y.detach().argmax(dim, true);
  return zeros_like(y).scatter_(dim, best, 1).sub(y.detach()).add(y);
}

}  // namespace weft
