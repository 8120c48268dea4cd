#include "core/row_wise.h"

#include <cstring>

#include "core/ops/cross_entropy.h"
#include "core/ops/norm.h"
#include "core/ops/reduce.h"
#include "core/ops/softmax.h"

namespace weft {
namespace {

int64_t rows_before(const Dims& sizes, int dim) {
  int64_t n = 1;
  for (int d = 0; d < dim; ++d) n *= sizes[d];
  return n;
}

// Softmax, its logarithm and their gradients along the last dimension.
RowWise softmax_rows(const OpCall& c) {
  const int dim = c.as<SoftmaxAttrs>().dim;
  if (dim != c.out[0].dim() - 1) return {};
  return {.rows = rows_before(c.out[0].sizes(), dim), .in = c.n_in == 2 ? 3u : 1u, .out = 1, .slow = true};
}
void narrow_softmax(void* attrs, int64_t) { static_cast<SoftmaxAttrs*>(attrs)->dim = 1; }

// Reductions over the last dimensions.
RowWise reduced_rows(const OpCall& c) {
  const auto& a = c.as<ReduceAttrs>();
  int kept = a.sizes.size();
  while (kept > 0 && (a.mask >> (kept - 1) & 1)) --kept;
  if (kept == a.sizes.size() || a.mask & ((1u << kept) - 1)) return {};
  return {.rows = rows_before(a.sizes, kept), .in = 1, .out = 1};
}
void narrow_reduced(void* attrs, int64_t rows) {
  auto& a = *static_cast<ReduceAttrs*>(attrs);
  const Dims sizes{rows, detail::reduced_count(a.sizes, a.mask)};
  a.mask = 2;
  a.sizes = sizes;
}

// Groups of channels take their parameters by the number of the row.
RowWise normalized_rows(const OpCall& c) {
  const auto& a = c.as<NormAttrs>();
  return a.cycle == 1 ? RowWise{.rows = a.rows, .in = 1, .out = 7} : RowWise{};
}
// Gradients of parameters are sums over rows.
RowWise normalized_backward_rows(const OpCall& c) {
  const auto& a = c.as<NormAttrs>();
  if (a.cycle != 1) return {};
  RowWise r{.rows = a.rows, .in = 1 | 2 | 8 | 16, .out = 1};
  if (c.out[1].defined() || c.out[2].defined()) {
    r.slow = true;
    r.chunk = a.chunk_rows();
    r.partial = static_cast<size_t>(a.chunks() * 2 * a.per_row()) * itemsize(c.in[3].dtype());
  }
  return r;
}
void narrow_normalized(void* attrs, int64_t rows) { static_cast<NormAttrs*>(attrs)->rows = rows; }

// Classes last. The sums of losses and of weights go over all rows.
bool classes_last(const OpCall& c, const Tensor& x) { return x.dim() > 1 && c.as<ClassLossAttrs>().dim == x.dim() - 1; }
RowWise class_loss_rows(const OpCall& c) {
  if (!classes_last(c, c.in[0])) return {};
  const int64_t rows = c.in[1].numel();
  return {.rows = rows,
          .in = 1 | 2,
          .out = c.as<ClassLossAttrs>().reduction == Reduction::none ? 3u : 2u,
          .slow = true,
          .partial = static_cast<size_t>(2 * rows) * itemsize(c.out[1].dtype())};
}
RowWise class_loss_backward_rows(const OpCall& c) {
  if (!classes_last(c, c.in[1])) return {};
  const unsigned gradient = c.as<ClassLossAttrs>().reduction == Reduction::none ? 1 : 0;
  return {.rows = c.in[2].numel(), .in = gradient | 2 | 4 | 16, .out = 1, .slow = true};
}
void narrow_classes(void* attrs, int64_t) { static_cast<ClassLossAttrs*>(attrs)->dim = 1; }

struct Entry {
  const OpRecord* op;
  RowWise (*rows)(const OpCall& c);
  void (*narrow)(void* attrs, int64_t rows);
  RowKernels kernels = {};
};
constexpr Entry kEntries[] = {
    {&SoftmaxOp::record, softmax_rows, narrow_softmax},
    {&LogSoftmaxOp::record, softmax_rows, narrow_softmax},
    {&SoftmaxBackwardOp::record, softmax_rows, narrow_softmax},
    {&LogSoftmaxBackwardOp::record, softmax_rows, narrow_softmax},
    {&NormalizeRowsOp::record, normalized_rows, narrow_normalized},
    {&NormalizeRowsBackwardOp::record,
     normalized_backward_rows,
     narrow_normalized,
     {cpu::normalize_rows_backward_block, cpu::normalize_rows_backward_finish}},
    {&ClassLossOp::nll, class_loss_rows, narrow_classes, {cpu::class_loss_block, cpu::class_loss_finish}},
    {&ClassLossOp::cross_entropy, class_loss_rows, narrow_classes, {cpu::class_loss_block, cpu::class_loss_finish}},
    {&ClassLossBackwardOp::record, class_loss_backward_rows, narrow_classes},
    {&SumOp::record, reduced_rows, narrow_reduced},
    {&MeanOp::record, reduced_rows, narrow_reduced},
    {&ProdOp::record, reduced_rows, narrow_reduced},
    {&AmaxOp::record, reduced_rows, narrow_reduced},
    {&AminOp::record, reduced_rows, narrow_reduced},
};
static_assert(sizeof(SoftmaxAttrs) <= kRowAttrs && sizeof(ReduceAttrs) <= kRowAttrs && sizeof(NormAttrs) <= kRowAttrs &&
              sizeof(ClassLossAttrs) <= kRowAttrs);

const Entry* find(const OpRecord& op) {
  for (const Entry& e : kEntries)
    if (e.op == &op) return &e;
  return nullptr;
}

bool have_rows(const Tensor* t, int n, unsigned mask, int64_t rows, bool all) {
  for (int i = 0; i < n; ++i) {
    if (!t[i].defined()) continue;
    const bool has = mask >> i & 1;
    if (all && !has) return false;
    if (has && (!t[i].impl()->contiguous || t[i].numel() == 0 || t[i].numel() % rows != 0)) return false;
  }
  return true;
}

}  // namespace

RowWise row_wise(const OpCall& c) {
  const Entry* e = find(c.op);
  if (!e) return {};
  const RowWise found = e->rows(c);
  if (found.rows < 1 || !have_rows(c.in, c.n_in, found.in, found.rows, false) ||
      !have_rows(c.out, c.n_out, found.out, found.rows, !e->kernels.finish))
    return {};
  return found;
}

RowKernels row_kernels(const OpRecord& op) { return find(op)->kernels; }

void narrow_rows(const OpRecord& op, void* attrs, int64_t rows) { find(op)->narrow(attrs, rows); }

}  // namespace weft
