#pragma once
#include "core/dispatch.h"
#include "core/random.h"

// Random tensors and in-place fills. The in-place methods are declared in core/tensor_methods.inc.
namespace weft {

// ---- new tensors
Tensor rand(const Dims& sizes, const TensorOptions& o = {}, Generator* generator = nullptr);   ///< uniform in [0, 1)
Tensor randn(const Dims& sizes, const TensorOptions& o = {}, Generator* generator = nullptr);  ///< standard normal
/// Integers in [low, high); i64 by default.
Tensor randint(int64_t low, int64_t high, const Dims& sizes, const TensorOptions& o = {},
               Generator* generator = nullptr);
Tensor randint(int64_t high, const Dims& sizes, const TensorOptions& o = {}, Generator* generator = nullptr);
/// 0 .. n-1 in random order, i64.
Tensor randperm(int64_t n, const TensorOptions& o = {}, Generator* generator = nullptr);
Tensor rand_like(const Tensor& x, std::optional<DType> dtype = {}, Generator* generator = nullptr);
Tensor randn_like(const Tensor& x, std::optional<DType> dtype = {}, Generator* generator = nullptr);
Tensor randint_like(const Tensor& x, int64_t low, int64_t high, std::optional<DType> dtype = {},
                    Generator* generator = nullptr);
/// Normals with the given means and deviations (std >= 0); tensors broadcast.
Tensor normal(const Tensor& mean, const Tensor& std, Generator* generator = nullptr);
Tensor normal(const Tensor& mean, double std = 1, Generator* generator = nullptr);
Tensor normal(double mean, const Tensor& std, Generator* generator = nullptr);
Tensor normal(double mean, double std, const Dims& sizes, const TensorOptions& o = {}, Generator* generator = nullptr);

// ---- from parameters
/// 1 with probability p (elements in [0, 1]), else 0; the dtype of p.
Tensor bernoulli(const Tensor& p, Generator* generator = nullptr);
Tensor bernoulli(const Tensor& x, double p, Generator* generator = nullptr);
/// Poisson numbers of the given rates (>= 0); the dtype of rate.
Tensor poisson(const Tensor& rate, Generator* generator = nullptr);
/// Indices of categories drawn by weight (1 or 2 dimensions, >= 0, need not sum to 1): i64 [.., samples].
Tensor multinomial(const Tensor& weights, int64_t samples, bool replacement = false, Generator* generator = nullptr);
/// A sample of the categories of softmax(logits), relaxed by the temperature tau (torch.nn.functional.gumbel_softmax).
/// hard: one-hot, with the gradient of the relaxed sample.
Tensor gumbel_softmax(const Tensor& logits, double tau = 1, bool hard = false, int64_t dim = -1,
                      Generator* generator = nullptr);

// ---- records
enum class Distribution : uint8_t { uniform, normal, log_normal, exponential, cauchy, geometric, bernoulli, integers };
struct RandomOp {  ///< fills self
  struct Attrs {
    Generator::State state;
    Distribution distribution;
    double a, b;     ///< from, to; mean, std; lambda; median, sigma; p
    int64_t low;     ///< integers: low + [0, range)
    uint64_t range;  ///< 0: 2^64
  };
  static const OpRecord record;
};
struct SeededOp {  ///< bernoulli, poisson, multinomial: (parameters) -> numbers
  struct Attrs {
    Generator::State state;
    bool replacement;
  };
  static const OpRecord bernoulli, poisson, multinomial;
};
struct RandpermOp {
  struct Attrs {
    Generator::State state;
  };
  static const OpRecord record;
};

namespace cpu {
void random_fill(const OpCall& c);
void bernoulli(const OpCall& c);
void poisson(const OpCall& c);
void multinomial(const OpCall& c);
void randperm(const OpCall& c);
}  // namespace cpu
namespace rules {
void random_fill(Node& n, const Tensor* g, Tensor* gin);
}  // namespace rules

namespace detail {
/// The state for a call that makes n values of `dtype`.
Generator::State take_state(Generator* generator, int64_t n, DType dtype = DType::f32);
}  // namespace detail

}  // namespace weft
