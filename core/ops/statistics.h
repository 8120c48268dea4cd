#pragma once
#include <limits>

#include "core/ops/reduce.h"

// Variance, norms and other sums with a twist. The methods are declared in core/tensor_methods.inc.
namespace weft {

/// Sum of squared distances from the mean, divided by max(0, n - o.correction); its root. Floats only.
Tensor var(const Tensor& x, const VarOptions& o = {});
Tensor std(const Tensor& x, const VarOptions& o = {});
std::tuple<Tensor, Tensor> var_mean(const Tensor& x, const VarOptions& o = {});
std::tuple<Tensor, Tensor> std_mean(const Tensor& x, const VarOptions& o = {});
/// (sum |x|^p)^(1/p); p = inf, -inf: largest, smallest |x|; p = 0: how many are not 0 (torch.norm, linalg.vector_norm).
/// Floats only.
Tensor norm(const Tensor& x, double p = 2, const ReduceOptions& o = {});
/// log(sum exp(x)) without overflow; integers become floats.
Tensor logsumexp(const Tensor& x, const DimList& dims, bool keepdim = false);
/// i64.
Tensor count_nonzero(const Tensor& x, const DimList& dims = {});
/// sum with NaN taken as 0, and mean of what is not NaN.
Tensor nansum(const Tensor& x, const ReduceOptions& o = {});
Tensor nanmean(const Tensor& x, const ReduceOptions& o = {});

// ---- records
struct VarOp {  ///< outputs: variance or its root, mean
  static const OpRecord record;
  struct Attrs {
    ReduceAttrs reduce;
    double correction;
    bool root;
  };
};
struct NormOp {
  static const OpRecord record;
  struct Attrs {
    ReduceAttrs reduce;
    double p;
  };
};
struct LogsumexpOp {
  static const OpRecord record;
};
struct CountNonzeroOp {
  static const OpRecord record;
};

namespace cpu {
void var(const OpCall& c);
void norm(const OpCall& c);
void logsumexp(const OpCall& c);
void count_nonzero(const OpCall& c);
}  // namespace cpu
namespace rules {
void var(Node& n, const Tensor* g, Tensor* gin);
void norm(Node& n, const Tensor* g, Tensor* gin);
void logsumexp(Node& n, const Tensor* g, Tensor* gin);
}  // namespace rules

}  // namespace weft
