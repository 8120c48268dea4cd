#include "core/ops/matmul.h"

#include <algorithm>

#include "core/cuda.h"
#include "core/ops/copy.h"
#include "core/ops/reduce.h"
#include "kernels/cuda/blas.h"
#include "kernels/cuda/kernels.h"
#include "kernels/cuda/product.h"

namespace weft::gpu {

MatmulCompute matmul_compute(DType t) {
  if (t == DType::f64) return MatmulCompute::f64;
  return t == DType::f32 && cuda::allow_tf32() ? MatmulCompute::tf32 : MatmulCompute::f32;
}

namespace {

void copy_into(const Tensor& to, const Tensor& from) {
  const Tensor in[1] = {from};
  Tensor out[1] = {to};
  constexpr CopyOp::Attrs attrs{};
  copy({CopyOp::record, in, 1, out, 1, &attrs});
}

Tensor dense_copy(const Tensor& t) {
  Tensor out = detail::allocate(t.sizes(), t.dtype(), t.device());
  copy_into(out, t);
  return out;
}

// The last two dimensions of t, and the one before.
MatrixView view(const Tensor& t) {
  const Dims& strides = t.strides();
  const int rank = strides.size();
  return {t.impl()->data, strides[rank - 2], strides[rank - 1], rank == 3 ? strides[0] : 0};
}

// t as it broadcasts to two or three dimensions.
MatrixView broadcast(const Tensor& t, const Dims& sizes) {
  const int rank = sizes.size(), shift = rank - t.dim();
  auto step = [&](int d) {
    return d < shift || (t.sizes()[d - shift] == 1 && sizes[d] != 1) ? int64_t{0} : t.strides()[d - shift];
  };
  return {t.impl()->data, step(rank - 2), step(rank - 1), rank == 3 ? step(0) : 0};
}

// How a matrix lies in memory: as rows, or as columns, `ld` elements apart; 0: as neither.
struct Lines {
  int64_t ld;
  bool columns;
};

int64_t lines_apart(int64_t count, int64_t length, int64_t step, int64_t inner) {
  if (length > 1 && inner != 1) return 0;
  if (count == 1) return length;
  return step >= length ? step : 0;
}
Lines as_rows(const MatrixView& x, int64_t rows, int64_t columns) {
  return {lines_apart(rows, columns, x.row, x.column), false};
}
Lines as_columns(const MatrixView& x, int64_t rows, int64_t columns) {
  return {lines_apart(columns, rows, x.column, x.row), true};
}
Lines lines(const MatrixView& x, int64_t rows, int64_t columns) {
  const Lines by_row = as_rows(x, rows, columns);
  // A dense column is one long line rather than many of one element: it is read in wider accesses.
  if (by_row.ld != 0 && (columns > 1 || x.row != 1)) return by_row;
  const Lines by_column = as_columns(x, rows, columns);
  return by_column.ld != 0 ? by_column : by_row;
}

// An operand that lies neither in rows nor in columns is copied.
void fit(MatrixView& x, int64_t rows, int64_t columns, int64_t batch, const Tensor& owner, Tensor& kept) {
  if (lines(x, rows, columns).ld != 0) return;
  const bool many = batch > 1 && x.batch != 0;
  const Dims sizes = many ? Dims{batch, rows, columns} : Dims{rows, columns};
  const Dims strides = many ? Dims{x.batch, x.row, x.column} : Dims{x.row, x.column};
  kept = dense_copy(detail::alias(owner, sizes, strides, owner.storage_offset()));
  x = view(kept);
}

// A batch that multiplies one matrix is one product of more rows.
void join_rows(ProductCall& p) {
  if (p.batch == 1 || p.b.batch != 0) return;
  auto joined = [&](const MatrixView& v) {
    MatrixView j = v;
    if (p.m == 1)
      j.row = v.batch;
    else if (v.batch != p.m * v.row)
      j.data = nullptr;
    return j;
  };
  const int64_t m = p.m * p.batch;
  const MatrixView a = joined(p.a), out = joined(p.out), addend = p.addend.data ? joined(p.addend) : p.addend;
  if (!a.data || !out.data || (p.addend.data && !addend.data)) return;
  if (lines(a, m, p.k).ld == 0 || lines(out, m, p.n).ld == 0) return;
  p.a = a, p.out = out, p.addend = addend;
  p.m = m, p.batch = 1;
}

// Whether the addend is one row for all rows.
bool adds_bias(const ProductCall& p) {
  return p.beta.f64() == 1 && p.addend.row == 0 && p.addend.batch == 0 && (p.addend.column == 1 || p.n == 1) &&
         as_rows(p.out, p.m, p.n).ld != 0;
}

// Epilogues work on rows of the result.
MatmulCall library_call(const ProductCall& p, MatmulEpilogue epilogue) {
  const Lines a = lines(p.a, p.m, p.k), b = lines(p.b, p.k, p.n);
  const Lines d = epilogue != MatmulEpilogue::none ? as_rows(p.out, p.m, p.n) : lines(p.out, p.m, p.n);
  MatmulCall call{};
  call.k = p.k;
  call.in = call.out = p.dtype;
  call.compute = matmul_compute(p.dtype);
  call.alpha = p.alpha.f64();
  call.d = p.out.data, call.ldd = d.ld;
  auto left = [&](const MatrixView& x, Lines l, bool transpose) {
    call.a = x.data, call.lda = l.ld, call.stride_a = x.batch, call.transpose_a = transpose;
  };
  auto right = [&](const MatrixView& x, Lines l, bool transpose) {
    call.b = x.data, call.ldb = l.ld, call.stride_b = x.batch, call.transpose_b = transpose;
  };
  if (d.columns) {
    call.m = p.m, call.n = p.n;
    left(p.a, a, !a.columns), right(p.b, b, !b.columns);
  } else {  // rows are the columns of the transposed product: out' = b' a'
    call.m = p.n, call.n = p.m;
    left(p.b, b, b.columns), right(p.a, a, a.columns);
  }
  call.epilogue = epilogue;
  if (epilogue == MatmulEpilogue::bias) {
    call.bias = p.addend.data;
  } else if (p.addend.data) {
    const Lines c = d.columns ? as_columns(p.addend, p.m, p.n) : as_rows(p.addend, p.m, p.n);
    call.c = p.addend.data, call.ldc = c.ld, call.stride_c = p.addend.batch;
    call.beta = p.beta.f64();
  }
  call.stride_d = p.out.batch;
  return call;
}

void* moved(const void* p, int64_t elements, DType t) {
  return const_cast<char*>(static_cast<const char*>(p) + elements * int64_t(itemsize(t)));
}

// Both with at most kMaxMatmulBatch matrices.
void run(const ProductCall& p, bool bias) {
  MatmulCall call = library_call(p, bias ? MatmulEpilogue::bias : MatmulEpilogue::none);
  call.batch = p.batch;
  if (p.batch == 1) call.stride_a = call.stride_b = call.stride_c = call.stride_d = 0;
  if (!matmul(call, current_stream())) product(p);
}

// out = alpha a b + beta addend, where p says how they lie; the tensors own the memory. `out` lies in rows or columns,
// apart from a and b.
void multiply(ProductCall& p, const Tensor& a, const Tensor& b, const Tensor& addend, const Tensor& out) {
  if (p.m == 0 || p.n == 0 || p.batch == 0) return;
  if (!p.beta.truth()) p.addend = {};
  if (p.k == 0 || !is_floating(p.dtype)) return product(p);
  Tensor kept_a, kept_b;
  fit(p.a, p.m, p.k, p.batch, a, kept_a);
  fit(p.b, p.k, p.n, p.batch, b, kept_b);
  join_rows(p);
  const bool bias = p.addend.data && adds_bias(p);
  if (p.addend.data && !bias) {
    const Lines d = lines(p.out, p.m, p.n);
    const Lines c = d.columns ? as_columns(p.addend, p.m, p.n) : as_rows(p.addend, p.m, p.n);
    if (c.ld == 0 || (p.batch > 1 && p.addend.batch == 0)) {
      copy_into(out, addend);  // broadcast
      p.addend = p.out;
    }
  }
  if (p.batch <= kMaxMatmulBatch) return run(p, bias);
  ProductCall part = p;
  for (int64_t first = 0; first < p.batch; first += kMaxMatmulBatch) {
    part.batch = std::min(kMaxMatmulBatch, p.batch - first);
    for (MatrixView ProductCall::*v : {&ProductCall::a, &ProductCall::b, &ProductCall::addend, &ProductCall::out})
      if ((p.*v).data) (part.*v).data = moved((p.*v).data, first * (p.*v).batch, p.dtype);
    run(part, bias);
  }
}

ProductCall product_of(const Tensor& a, const Tensor& b, const Tensor& out) {
  const int rank = out.dim();
  const Dims& sizes = out.sizes();
  return {.m = sizes[rank - 2],
          .n = sizes[rank - 1],
          .k = a.sizes()[rank - 1],
          .batch = rank == 3 ? sizes[0] : 1,
          .a = view(a),
          .b = view(b),
          .addend = {},
          .out = view(out),
          .dtype = out.dtype()};
}

}  // namespace

void mm(const OpCall& c) {
  ProductCall p = product_of(c.in[0], c.in[1], c.out[0]);
  multiply(p, c.in[0], c.in[1], {}, c.out[0]);
}

void addmm(const OpCall& c) {
  const auto& numbers = c.as<AddmmOp::Attrs>();
  const Tensor &addend = c.in[0], &a = c.in[1], &b = c.in[2], &out = c.out[0];
  if (out.numel() == 0) return;
  // In place, on memory that no layout fits or that an operand shares: by way of a new result.
  const bool apart = !out.shares_storage_with(a) && !out.shares_storage_with(b);
  const Tensor sums = apart && lines(view(out), out.sizes()[out.dim() - 2], out.sizes().back()).ld != 0
                          ? out
                          : detail::allocate(out.sizes(), out.dtype(), out.device());
  ProductCall p = product_of(a, b, sums);
  p.addend = broadcast(addend, out.sizes());
  p.alpha = numbers.alpha, p.beta = numbers.beta;
  multiply(p, a, b, addend, sums);
  if (!sums.is_same(out)) copy_into(out, sums);
}

void linear(const OpCall& c) {
  const Tensor &weight = c.in[1], &bias = c.in[2], &out = c.out[0];
  if (out.numel() == 0) return;
  // The leading dimensions as one of rows: their strides must follow from each other.
  const Tensor* x = &c.in[0];
  const int rank = x->dim();
  bool regular = true;
  for (int d = 0; d + 2 < rank; ++d)
    regular = regular && (x->sizes()[d] == 1 || x->strides()[d] == x->strides()[d + 1] * x->sizes()[d + 1]);
  Tensor dense;
  if (!regular) x = &(dense = dense_copy(*x));
  const int64_t n = weight.sizes()[0];
  ProductCall p{.m = out.numel() / n,
                .n = n,
                .k = weight.sizes()[1],
                .batch = 1,
                .a = {x->impl()->data, rank > 1 ? x->strides()[rank - 2] : 0, x->strides()[rank - 1]},
                .b = {weight.impl()->data, weight.strides()[1], weight.strides()[0]},
                .addend = {},
                .out = {out.impl()->data, n, 1},
                .dtype = out.dtype()};
  if (bias.defined()) {
    p.addend = {bias.impl()->data, 0, bias.strides()[0]};
    p.beta = 1;
  }
  multiply(p, *x, weight, bias, out);
}

void linear_grad(const OpCall& c) {
  const Tensor &g = c.in[0], &x = c.in[1], &dw = c.out[0], &db = c.out[1];
  ProductCall p{.m = g.sizes()[1],
                .n = x.sizes()[1],
                .k = g.sizes()[0],
                .batch = 1,
                .a = {g.impl()->data, g.strides()[1], g.strides()[0]},
                .b = view(x),
                .addend = {},
                .out = view(dw),
                .dtype = dw.dtype()};
  // Tensor cores have the sums of g's columns nearly for free; without them the product is what takes the time.
  if (itemsize(p.dtype) == 2 && p.m > 0 && p.n > 0 && p.k > 0) {
    Tensor kept_a, kept_b;
    fit(p.a, p.m, p.k, 1, g, kept_a);
    fit(p.b, p.k, p.n, 1, x, kept_b);
    MatmulCall call = library_call(p, MatmulEpilogue::bias_gradient);
    call.bias = db.impl()->data;
    if (matmul(call, current_stream())) return;
  }
  multiply(p, g, x, {}, dw);
  const ReduceAttrs rows{.mask = 1, .keepdim = false, .sizes = g.sizes(), .divisor = 1};
  Tensor sums[1] = {db};
  reduce_sum({SumOp::record, c.in, 1, sums, 1, &rows});
}

}  // namespace weft::gpu
