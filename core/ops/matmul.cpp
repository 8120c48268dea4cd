#include "core/ops/matmul.h"

#include <algorithm>
#include <utility>

#include "core/autocast.h"
#include "core/error.h"
#include "core/ops/pointwise_api.h"

namespace weft {

const OpRecord MmOp::record{.name = "mm", .save_inputs = 3, .cpu = cpu::mm, .rule = rules::mm, .cast = Cast::lower};
const OpRecord MmOp::batched{.name = "bmm", .save_inputs = 3, .cpu = cpu::mm, .rule = rules::mm, .cast = Cast::lower};
const OpRecord AddmmOp::record{
    .name = "addmm", .save_inputs = 6, .cpu = cpu::addmm, .rule = rules::addmm, .cast = Cast::lower};
const OpRecord AddmmOp::batched{
    .name = "baddbmm", .save_inputs = 6, .cpu = cpu::addmm, .rule = rules::addmm, .cast = Cast::lower};
const OpRecord LinearOp::record{
    .name = "linear", .save_inputs = 3, .cpu = cpu::linear, .rule = rules::linear, .cast = Cast::lower};
const OpRecord LinearGradOp::record{
    .name = "linear_grad", .save_inputs = 3, .cpu = cpu::linear_grad, .rule = rules::linear_grad};

namespace {

void check_dtypes(const char* op, const Tensor& a, const Tensor& b) {
  WEFT_CHECK(a.defined() && b.defined(), "{}: an operand is an undefined tensor", op);
  WEFT_CHECK_TYPE(a.dtype() == b.dtype(), "{}: operands need one dtype, got {} and {}; convert one with .to()", op, a,
                  b);
  WEFT_CHECK_TYPE(a.dtype() != DType::bool_, "{}: has no product of bool; convert {} and {} with .to()", op, a, b);
}

void check_rank(const char* op, const Tensor& t, int rank) {
  WEFT_CHECK(t.defined(), "{}: an operand is an undefined tensor", op);
  WEFT_CHECK(t.dim() == rank, "{}: needs {} dimensions, got {}", op, rank, t);
}

// The shape of a product of matrices (rank 2) or batches (rank 3).
Dims product_sizes(const char* op, int rank, const Tensor& a, const Tensor& b) {
  check_rank(op, a, rank);
  check_rank(op, b, rank);
  check_dtypes(op, a, b);
  WEFT_CHECK(a.sizes()[rank - 1] == b.sizes()[rank - 2], "{}: columns of {} and rows of {} differ", op, a, b);
  Dims sizes = a.sizes();
  if (rank == 3) WEFT_CHECK(sizes[0] == b.sizes()[0], "{}: batches of {} and {} differ", op, a, b);
  sizes.back() = b.sizes().back();
  return sizes;
}

Tensor product(const OpRecord& op, int rank, const Tensor& a, const Tensor& b) {
  const Dims sizes = product_sizes(op.name, rank, a, b);
  Tensor out = detail::allocate(sizes, a.dtype(), a.device());
  const Tensor in[2] = {a, b};
  dispatch(op, in, out, NoAttrs{});
  return out;
}

Dims add_sizes(const OpRecord& op, int rank, const Tensor& addend, const Tensor& a, const Tensor& b) {
  const Dims sizes = product_sizes(op.name, rank, a, b);
  check_dtypes(op.name, addend, a);
  WEFT_CHECK(broadcast_shapes(addend.sizes(), sizes, op.name) == sizes, "{}: {} does not broadcast to {}", op.name,
             addend, sizes);
  return sizes;
}

AddmmOp::Attrs numbers(const Tensor& a, const AddmmOptions& o) {
  if (is_floating(a.dtype())) return {o.beta, o.alpha};
  return {o.beta.i64(), o.alpha.i64()};
}

Tensor add_product(const OpRecord& op, int rank, const Tensor& addend, const Tensor& a, const Tensor& b,
                   const AddmmOptions& o) {
  const Dims sizes = add_sizes(op, rank, addend, a, b);
  Tensor out = detail::allocate(sizes, a.dtype(), a.device());
  const Tensor in[3] = {addend, a, b};
  dispatch(op, in, out, numbers(a, o));
  return out;
}

Tensor& add_product_(const OpRecord& op, int rank, Tensor& self, const Tensor& a, const Tensor& b,
                     const AddmmOptions& o) {
  const Dims sizes = add_sizes(op, rank, self, a, b);
  WEFT_CHECK(self.sizes() == sizes, "{}_: {} cannot hold the result {}", op.name, self, sizes);
  const Tensor in[3] = {self, a, b};
  dispatch_inplace(op, self, in, numbers(a, o));
  return self;
}

// A batch [s, m, k] x [s, k, n], summed, is one product [m, s * k] x [s * k, n].
std::pair<Tensor, Tensor> side_by_side(const Tensor& a, const Tensor& b) {
  const Dims sizes = product_sizes("addbmm", 3, a, b);
  const int64_t k = a.sizes()[0] * a.sizes()[2];
  return {a.permute({1, 0, 2}).reshape({sizes[1], k}), b.reshape({k, sizes[2]})};
}

Dims leading(const Tensor& t) {
  Dims d = t.sizes();
  d.pop_back();
  d.pop_back();
  return d;
}

Dims with_matrix(Dims batch, int64_t rows, int64_t columns) {
  batch.push_back(rows);
  batch.push_back(columns);
  return batch;
}

int64_t count(const Dims& d) {
  int64_t n = 1;
  for (int64_t s : d) n *= s;
  return n;
}

Tensor as_batch(const Tensor& t, const Dims& batch) {
  const int64_t rows = t.sizes()[t.dim() - 2], columns = t.sizes().back();
  const Dims wide = with_matrix(batch, rows, columns), flat{count(batch), rows, columns};
  const Tensor& full = t.sizes() == wide ? t : t.expand(wide);
  return full.sizes() == flat ? full : full.reshape(flat);
}

}  // namespace

Tensor mm(const Tensor& a, const Tensor& b) {
  if (detail::casts(MmOp::record)) [[unlikely]]
    return detail::cast_call(MmOp::record, mm, a, b);
  return product(MmOp::record, 2, a, b);
}
Tensor bmm(const Tensor& a, const Tensor& b) {
  if (detail::casts(MmOp::batched)) [[unlikely]]
    return detail::cast_call(MmOp::batched, bmm, a, b);
  return product(MmOp::batched, 3, a, b);
}

Tensor mv(const Tensor& a, const Tensor& x) {
  check_rank("mv", a, 2);
  check_rank("mv", x, 1);
  check_dtypes("mv", a, x);
  WEFT_CHECK(a.sizes()[1] == x.sizes()[0], "mv: columns of {} and size of {} differ", a, x);
  return product(MmOp::record, 2, a, x.unsqueeze(1)).squeeze(1);
}

Tensor dot(const Tensor& a, const Tensor& b) {
  check_rank("dot", a, 1);
  check_rank("dot", b, 1);
  check_dtypes("dot", a, b);
  WEFT_CHECK(a.sizes() == b.sizes(), "dot: sizes of {} and {} differ", a, b);
  return product(MmOp::record, 2, a.unsqueeze(0), b.unsqueeze(1)).reshape({});
}

Tensor outer(const Tensor& a, const Tensor& b) {
  check_rank("outer", a, 1);
  check_rank("outer", b, 1);
  return mul(a.unsqueeze(1), b.unsqueeze(0));
}

Tensor matmul(const Tensor& a, const Tensor& b) {
  if (detail::casts(MmOp::record)) [[unlikely]]
    return detail::cast_call(MmOp::record, matmul, a, b);
  check_dtypes("matmul", a, b);
  WEFT_CHECK(a.dim() >= 1 && b.dim() >= 1, "matmul: needs at least one dimension, got {} and {}", a, b);
  if (a.dim() == 1 && b.dim() == 1) return dot(a, b);
  if (a.dim() == 2 && b.dim() == 2) return mm(a, b);
  if (a.dim() == 2 && b.dim() == 1) return mv(a, b);
  if (a.dim() == 1) return matmul(a.unsqueeze(0), b).squeeze(-2);
  if (b.dim() == 1) return matmul(a, b.unsqueeze(1)).squeeze(-1);
  const int64_t m = a.sizes()[a.dim() - 2], k = a.sizes().back(), n = b.sizes().back();
  WEFT_CHECK(k == b.sizes()[b.dim() - 2], "matmul: columns of {} and rows of {} differ", a, b);
  if (b.dim() == 2) {  // one matrix for the whole batch: the rows of all products are one matrix
    const Dims batch = leading(a);
    return mm(a.reshape({count(batch) * m, k}), b).reshape(with_matrix(batch, m, n));
  }
  const Dims batch = broadcast_shapes(leading(a), leading(b), "matmul");
  const Tensor out = bmm(as_batch(a, batch), as_batch(b, batch));
  return batch.size() == 1 ? out : out.reshape(with_matrix(batch, m, n));
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (detail::casts(LinearOp::record)) [[unlikely]]
    return detail::cast_call(LinearOp::record, linear, x, weight, bias);
  check_dtypes("linear", x, weight);
  WEFT_CHECK(weight.dim() == 1 || weight.dim() == 2, "linear: weight needs [out, in] or [in], got {}", weight);
  WEFT_CHECK(x.dim() >= 1 && x.sizes().back() == weight.sizes().back(),
             "linear: last sizes of input {} and weight {} differ", x, weight);
  if (weight.dim() == 1) {
    const Tensor y = matmul(x, weight);
    return bias.defined() ? add(y, bias) : y;
  }
  Dims sizes = x.sizes();
  sizes.back() = weight.sizes()[0];
  if (bias.defined()) {
    check_dtypes("linear", bias, weight);
    if (bias.sizes() != Dims{sizes.back()}) {
      WEFT_CHECK(broadcast_shapes(bias.sizes(), sizes, "linear") == sizes, "linear: bias {} does not broadcast to {}",
                 bias, sizes);
      return add(linear(x, weight), bias);
    }
  }
  Tensor out = detail::allocate(sizes, x.dtype(), x.device());
  const Tensor in[3] = {x, weight, bias};
  dispatch(LinearOp::record, in, out, NoAttrs{});
  return out;
}

void detail::linear_grad(const Tensor& g, const Tensor& x, Tensor (&out)[2]) {
  check_rank("linear_grad", g, 2);
  check_rank("linear_grad", x, 2);
  check_dtypes("linear_grad", g, x);
  WEFT_CHECK(g.sizes()[0] == x.sizes()[0], "linear_grad: rows of {} and {} differ", g, x);
  out[0] = detail::allocate({g.sizes()[1], x.sizes()[1]}, g.dtype(), g.device());
  out[1] = detail::allocate({g.sizes()[1]}, g.dtype(), g.device());
  const Tensor in[2] = {g, x};
  dispatch(LinearGradOp::record, in, out, NoAttrs{});
}

Tensor kron(const Tensor& a, const Tensor& b) {
  WEFT_CHECK(a.defined() && b.defined(), "kron: an operand is an undefined tensor");
  const int rank = std::max(a.dim(), b.dim());
  WEFT_CHECK(2 * rank <= kMaxDims, "kron: at most {} dimensions, got {} and {}", kMaxDims / 2, a, b);
  Dims a_sizes, b_sizes, sizes;  // a [a0, 1, a1, 1, ...] * b [1, b0, 1, b1, ...]
  for (int d = 0; d < rank; ++d) {
    const int of_a = d - (rank - a.dim()), of_b = d - (rank - b.dim());
    const int64_t m = of_a < 0 ? 1 : a.sizes()[of_a], n = of_b < 0 ? 1 : b.sizes()[of_b];
    a_sizes.push_back(m), a_sizes.push_back(1);
    b_sizes.push_back(1), b_sizes.push_back(n);
    sizes.push_back(m * n);
  }
  return mul(a.reshape(a_sizes), b.reshape(b_sizes)).reshape(sizes);
}

Tensor addmm(const Tensor& addend, const Tensor& a, const Tensor& b, const AddmmOptions& o) {
  if (detail::casts(AddmmOp::record)) [[unlikely]]
    return detail::cast_call(AddmmOp::record, addmm, addend, a, b, o);
  return add_product(AddmmOp::record, 2, addend, a, b, o);
}
Tensor baddbmm(const Tensor& addend, const Tensor& a, const Tensor& b, const AddmmOptions& o) {
  if (detail::casts(AddmmOp::batched)) [[unlikely]]
    return detail::cast_call(AddmmOp::batched, baddbmm, addend, a, b, o);
  return add_product(AddmmOp::batched, 3, addend, a, b, o);
}
Tensor addbmm(const Tensor& addend, const Tensor& a, const Tensor& b, const AddmmOptions& o) {
  if (detail::casts(AddmmOp::record)) [[unlikely]]
    return detail::cast_call(AddmmOp::record, addbmm, addend, a, b, o);
  const auto [left, right] = side_by_side(a, b);
  return addmm(addend, left, right, o);
}
Tensor addmv(const Tensor& addend, const Tensor& a, const Tensor& x, const AddmmOptions& o) {
  check_rank("addmv", a, 2);
  check_rank("addmv", x, 1);
  const Dims sizes{a.sizes()[0]};
  WEFT_CHECK(addend.defined() && broadcast_shapes(addend.sizes(), sizes, "addmv") == sizes,
             "addmv: the addend does not broadcast to {}", sizes);
  return add_product(AddmmOp::record, 2, addend.expand(sizes).unsqueeze(1), a, x.unsqueeze(1), o).squeeze(1);
}
Tensor& addmm_(Tensor& self, const Tensor& a, const Tensor& b, const AddmmOptions& o) {
  return add_product_(AddmmOp::record, 2, self, a, b, o);
}
Tensor& baddbmm_(Tensor& self, const Tensor& a, const Tensor& b, const AddmmOptions& o) {
  return add_product_(AddmmOp::batched, 3, self, a, b, o);
}
Tensor& addbmm_(Tensor& self, const Tensor& a, const Tensor& b, const AddmmOptions& o) {
  const auto [left, right] = side_by_side(a, b);
  const Dims sizes{left.sizes()[0], right.sizes()[1]};
  if (self.sizes() == sizes || detail::needs_grad(&self, 1)) return addmm_(self, left, right, o);
  const Tensor result = addmm(self, left, right, o);
  return self.resize_(sizes).copy_(result);
}

Tensor Tensor::matmul(const Tensor& o) const { return weft::matmul(*this, o); }
Tensor Tensor::mm(const Tensor& o) const { return weft::mm(*this, o); }
Tensor Tensor::bmm(const Tensor& o) const { return weft::bmm(*this, o); }
Tensor Tensor::mv(const Tensor& o) const { return weft::mv(*this, o); }
Tensor Tensor::dot(const Tensor& o) const { return weft::dot(*this, o); }
Tensor Tensor::outer(const Tensor& o) const { return weft::outer(*this, o); }

}  // namespace weft
