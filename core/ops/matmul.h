#pragma once
#include "core/dispatch.h"

// Matrix products. Operands of one product have one dtype (TypeError otherwise; any but bool), on any strides. Sums of
// 16-bit floats are kept in f32 and rounded once; integers wrap.
namespace weft {

/// [m, k] x [k, n] -> [m, n].
Tensor mm(const Tensor& a, const Tensor& b);
/// [batch, m, k] x [batch, k, n] -> [batch, m, n].
Tensor bmm(const Tensor& a, const Tensor& b);
/// [m, k] x [k] -> [m].
Tensor mv(const Tensor& a, const Tensor& x);
/// [n] x [n] -> a number.
Tensor dot(const Tensor& a, const Tensor& b);
/// [m] x [n] -> [m, n]: all products. Any dtypes, promoted.
Tensor outer(const Tensor& a, const Tensor& b);
/// torch.matmul: dot, mv, mm, or a batch of products whose leading dimensions broadcast.
Tensor matmul(const Tensor& a, const Tensor& b);
/// x [..., in] times weight [out, in] transposed, plus bias [out] if defined (torch.nn.functional.linear).
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});
/// Kronecker product of tensors of any rank. Any dtypes, promoted.
Tensor kron(const Tensor& a, const Tensor& b);

struct AddmmOptions {
  Scalar beta = 1;  ///< 0: the addend is not read, so that its NaN does not count
  Scalar alpha = 1;
};
/// beta * addend + alpha * a b; the addend broadcasts to the result. Numbers of integer products are truncated.
Tensor addmm(const Tensor& addend, const Tensor& a, const Tensor& b, const AddmmOptions& o = {});
/// The same for a batch of products.
Tensor baddbmm(const Tensor& addend, const Tensor& a, const Tensor& b, const AddmmOptions& o = {});
/// The same for the sum of a batch of products: [m, n].
Tensor addbmm(const Tensor& addend, const Tensor& a, const Tensor& b, const AddmmOptions& o = {});
Tensor addmv(const Tensor& addend, const Tensor& a, const Tensor& x, const AddmmOptions& o = {});
/// In place: the addend has the shape of the result; addbmm_ grows it to that.
Tensor& addmm_(Tensor& self, const Tensor& a, const Tensor& b, const AddmmOptions& o = {});
Tensor& baddbmm_(Tensor& self, const Tensor& a, const Tensor& b, const AddmmOptions& o = {});
Tensor& addbmm_(Tensor& self, const Tensor& a, const Tensor& b, const AddmmOptions& o = {});

// ---- records
struct MmOp {  ///< a, b: two or three dimensions
  static const OpRecord record, batched;
};
struct AddmmOp {  ///< addend, a, b: two or three dimensions
  struct Attrs {
    Scalar beta, alpha;
  };
  static const OpRecord record, batched;
};
struct LinearOp {  ///< x, weight, bias
  static const OpRecord record;
};
struct LinearGradOp {  ///< of rows g [r, out] and x [r, in]: g^T x [out, in] and the sum of the rows of g [out]
  static const OpRecord record;
};
namespace detail {
void linear_grad(const Tensor& g, const Tensor& x, Tensor (&out)[2]);
}

namespace cpu {
void mm(const OpCall& c);
void addmm(const OpCall& c);
void linear(const OpCall& c);
void linear_grad(const OpCall& c);
}  // namespace cpu
namespace rules {
void mm(Node& n, const Tensor* g, Tensor* gin);
void addmm(Node& n, const Tensor* g, Tensor* gin);
void linear(Node& n, const Tensor* g, Tensor* gin);
void linear_grad(Node& n, const Tensor* g, Tensor* gin);
}  // namespace rules

}  // namespace weft
