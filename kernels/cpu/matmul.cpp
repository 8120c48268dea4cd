#include "core/ops/matmul.h"

#include "core/ops/copy.h"
#include "core/ops/reduce.h"
#include "kernels/cpu/gemm.h"

namespace weft::cpu {
namespace {

void copy_into(Tensor& to, const Tensor& from) {
  const Tensor in[1] = {from};
  copy({CopyOp::record, in, 1, &to, 1, nullptr});
}

Tensor dense_copy(const Tensor& t) {
  Tensor out = weft::detail::allocate(t.sizes(), t.dtype(), t.device());
  copy_into(out, t);
  return out;
}

// The last two dimensions of t, and the stride of the one before (0: none).
struct Matrix {
  explicit Matrix(const Tensor& t)
      : data(t.data_ptr()),
        batch_stride(t.dim() == 3 ? t.strides()[0] : 0),
        row_stride(t.strides()[t.dim() - 2]),
        column_stride(t.strides().back()) {}
  void* data;
  int64_t batch_stride, row_stride, column_stride;
};

// out = alpha * a b + beta * out; the rows of out are contiguous and lie apart.
void multiply(const Tensor& a, const Tensor& b, Tensor& out, Scalar alpha, Scalar beta, const void* bias = nullptr) {
  const int rank = out.dim();
  const Matrix ma(a), mb(b), mc(out);
  kernels::Gemm g;
  g.m = out.sizes()[rank - 2], g.n = out.sizes()[rank - 1], g.k = a.sizes().back();
  g.a = ma.data, g.a_rs = ma.row_stride, g.a_cs = ma.column_stride;
  g.b = mb.data, g.b_rs = mb.row_stride, g.b_cs = mb.column_stride;
  g.c = mc.data, g.ldc = mc.row_stride;
  g.dtype = out.dtype(), g.alpha = alpha.f64(), g.beta = beta.f64(), g.bias = bias;
  if (rank == 2) return kernels::gemm(g);
  kernels::gemm_batched(g, out.sizes()[0], ma.batch_stride, mb.batch_stride, mc.batch_stride);
}

// Whether a result can be written there row by row.
bool has_rows(const Tensor& t) {
  const int rank = t.dim();
  if (t.sizes()[rank - 1] != 1 && t.strides()[rank - 1] != 1) return false;
  if (t.sizes()[rank - 2] > 1 && t.strides()[rank - 2] < t.sizes()[rank - 1]) return false;
  return rank == 2 || t.is_contiguous();
}

}  // namespace

void mm(const OpCall& c) { multiply(c.in[0], c.in[1], c.out[0], 1, 0); }

void addmm(const OpCall& c) {
  const auto& numbers = c.as<AddmmOp::Attrs>();
  const Tensor &addend = c.in[0], &a = c.in[1], &b = c.in[2];
  Tensor& out = c.out[0];
  const bool reads = numbers.beta.truth(), in_place = addend.is_same(out);
  // A row that is added to every row needs no copy.
  if (reads && !in_place && numbers.beta.f64() == 1 && addend.dim() == 1 && addend.sizes()[0] == out.sizes().back() &&
      addend.strides()[0] == 1) {
    return multiply(a, b, out, numbers.alpha, 0, addend.data_ptr());
  }
  if (!has_rows(out) || out.shares_storage_with(a) || out.shares_storage_with(b)) {
    Tensor sums = weft::detail::allocate(out.sizes(), out.dtype(), out.device());
    if (reads) copy_into(sums, addend);
    multiply(a, b, sums, numbers.alpha, numbers.beta);
    return copy_into(out, sums);
  }
  if (reads && !in_place) copy_into(out, addend);
  multiply(a, b, out, numbers.alpha, numbers.beta);
}

void linear(const OpCall& c) {
  const Tensor& weight = c.in[1];
  Tensor x = c.in[0], bias = c.in[2];
  // The leading dimensions as one of rows: their strides must follow from each other.
  const int rank = x.dim();
  bool regular = true;
  for (int d = 0; d + 2 < rank; ++d)
    regular = regular && (x.sizes()[d] == 1 || x.strides()[d] == x.strides()[d + 1] * x.sizes()[d + 1]);
  if (!regular) x = dense_copy(x);
  if (bias.defined() && bias.sizes()[0] > 1 && bias.strides()[0] != 1) bias = dense_copy(bias);
  kernels::Gemm g;
  g.k = x.sizes().back(), g.n = weight.sizes()[0], g.m = g.n == 0 ? 0 : c.out[0].numel() / g.n;
  g.a = x.data_ptr(), g.a_rs = rank > 1 ? x.strides()[rank - 2] : 0, g.a_cs = x.strides()[rank - 1];
  g.b = weight.data_ptr(), g.b_rs = weight.strides()[1], g.b_cs = weight.strides()[0];
  g.c = c.out[0].data_ptr(), g.ldc = g.n;
  g.dtype = x.dtype(), g.packed_b = packed_weight();
  if (bias.defined()) g.bias = bias.data_ptr();
  kernels::gemm(g);
}

void linear_grad(const OpCall& c) {
  const Tensor &g = c.in[0], &x = c.in[1];
  kernels::Gemm p;
  p.m = g.sizes()[1], p.n = x.sizes()[1], p.k = g.sizes()[0];
  p.a = g.data_ptr(), p.a_rs = g.strides()[1], p.a_cs = g.strides()[0];
  p.b = x.data_ptr(), p.b_rs = x.strides()[0], p.b_cs = x.strides()[1];
  p.c = c.out[0].data_ptr(), p.ldc = p.n;
  p.dtype = g.dtype();
  kernels::gemm(p);
  const ReduceAttrs rows{.mask = 1, .keepdim = false, .sizes = g.sizes(), .divisor = 1};
  reduce_sum({SumOp::record, c.in, 1, c.out + 1, 1, &rows});
}

}  // namespace weft::cpu
