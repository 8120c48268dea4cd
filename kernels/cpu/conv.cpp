#include "kernels/cpu/conv.h"

#include <limits>

#include "core/error.h"
#include "kernels/cpu/conv_correlate.h"
#include "kernels/cpu/conv_engines.h"

namespace weft::cpu {
namespace conv {

namespace {
int64_t floor_div(int64_t a, int64_t b) { return a >= 0 ? a / b : -((-a + b - 1) / b); }
}  // namespace

Columns plan_columns(const Correlation& r, int64_t block) {
  const Conv& c = r.c;
  const int64_t s = c.stride[2], d = c.dilation[2], p = c.padding[2], out = r.out_size[2];
  Columns plan;
  plan.step = r.transposed ? s : 1;
  plan.rows.step = r.transposed ? 1 : s;
  for (int64_t f = 0; f < std::min(plan.step, out); ++f) {
    ColumnPhase phase{f, (out - f + plan.step - 1) / plan.step, {}};
    for (int64_t k = 0; k < c.kernel[2]; ++k) {
      if (!r.transposed) {
        phase.taps.push_back({k, k * d - p});
      } else if ((f + p - k * d) % s == 0) {
        phase.taps.push_back({k, floor_div(f + p - k * d, s)});
      }
    }
    std::sort(phase.taps.begin(), phase.taps.end(), [](const auto& a, const auto& b) { return a.offset < b.offset; });
    if (phase.taps.size() == 3 && plan.rows.step == 1 && phase.taps[1].offset == phase.taps[0].offset + 1 &&
        phase.taps[2].offset == phase.taps[1].offset + 1)
      phase.run = 3;
    plan.phases.push_back(std::move(phase));
  }
  // The offsets so far are input columns; turn them into places of the packed row.
  int64_t first = std::numeric_limits<int64_t>::max();
  for (const auto& phase : plan.phases)
    for (const auto& t : phase.taps) first = std::min(first, t.offset);
  RowPlan& rows = plan.rows;
  rows.size = r.in_size[2];
  rows.channels = r.cin;
  rows.block = block;
  rows.first = first;
  auto residue_slot = [&](int64_t residue) {
    int i = 0;
    while (i < int(rows.residue.size()) && rows.residue[i] != residue) ++i;
    if (i == int(rows.residue.size())) rows.residue.push_back(residue);
    return i;
  };
  for (auto& phase : plan.phases)
    for (auto& t : phase.taps) {
      residue_slot((t.offset - first) % rows.step);
      rows.width = std::max(rows.width, (t.offset - first) / rows.step + phase.count);
    }
  for (auto& phase : plan.phases)
    for (auto& t : phase.taps)
      t.offset = (residue_slot((t.offset - first) % rows.step) * rows.width + (t.offset - first) / rows.step) * block;
  return plan;
}

std::vector<int> cut_row(int64_t count, int vectors, int widest) {
  // A tile of Q pixels takes Q * vectors FMAs a step, and never less than the 8 that hide the latency of one.
  std::vector<int> cut;
  for (; count > 64; count -= widest) cut.push_back(widest);
  std::vector<int64_t> cost(count + 1, 0);
  std::vector<int> choice(count + 1, 0);
  for (int64_t i = 1; i <= count; ++i) {
    cost[i] = std::numeric_limits<int64_t>::max();
    for (const int width : kWidths) {
      if (width > widest || width > i) continue;
      const int64_t total = cost[i - width] + std::max(width * vectors, 8) + 1;
      if (total < cost[i]) cost[i] = total, choice[i] = width;
    }
  }
  for (int64_t i = count; i > 0; i -= choice[i]) cut.push_back(choice[i]);
  return cut;
}

void correlate(const Correlation& r, const void* x, const void* w, const void* bias, void* y) {
  switch (r.c.dtype) {
    case DType::f32:
      return correlate_f32(r, x, w, bias, y);
    case DType::f64:
      return correlate_f64(r, x, w, bias, y);
    case DType::bf16:
      return correlate_bf16(r, x, w, bias, y);
    case DType::f16:
      return correlate_f16(r, x, w, bias, y);
    case DType::i64:
      return correlate_i64(r, x, w, bias, y);
    default:
      WEFT_FAIL("convolution: no kernel for {}; convert the tensors to a float dtype", r.c.dtype);
  }
}

namespace {
// A convolution of one position sees no neighbours: rows that follow each other in x and in y become one, long enough
// to fill tiles and short enough to be shared between threads.
Conv with_long_rows(const Conv& given) {
  Conv c = given;
  const int64_t height = c.x_size[1], width = c.x_size[2];
  for (int d = 0; d < 3; ++d)
    if (c.kernel[d] != 1 || c.stride[d] != 1 || c.padding[d] != 0 || c.x_size[d] != c.y_size[d]) return c;
  if (c.x_strides[3] != width * c.x_strides[4] || c.y_strides[3] != width * c.y_strides[4]) return c;
  int64_t rows = 1;
  while (rows < height && (height % rows != 0 || rows * width < 64)) ++rows;
  c.x_size[1] = c.y_size[1] = height / rows;
  c.x_size[2] = c.y_size[2] = rows * width;
  c.x_strides[3] *= rows, c.y_strides[3] *= rows;
  return c;
}
}  // namespace
}  // namespace conv

void conv_forward(const Conv& given, const void* x, const void* w, const void* bias, void* y) {
  const Conv c = conv::with_long_rows(given);
  conv::correlate({c, false, c.cin / c.groups, c.cout / c.groups, c.x_size, c.y_size, c.x_strides, c.y_strides}, x, w,
                  bias, y);
}

void conv_data_gradient(const Conv& given, const void* dy, const void* w, const void* bias, void* dx) {
  const Conv c = conv::with_long_rows(given);
  conv::correlate({c, true, c.cout / c.groups, c.cin / c.groups, c.y_size, c.x_size, c.y_strides, c.x_strides}, dy, w,
                  bias, dx);
}

void conv_weight_gradient(const Conv& c, const void* x, const void* dy, void* dw, void* db) {
  switch (c.dtype) {
    case DType::f32:
      return conv::weight_gradient_f32(c, x, dy, dw, db);
    case DType::f64:
      return conv::weight_gradient_f64(c, x, dy, dw, db);
    case DType::bf16:
      return conv::weight_gradient_bf16(c, x, dy, dw, db);
    case DType::f16:
      return conv::weight_gradient_f16(c, x, dy, dw, db);
    default:
      WEFT_FAIL("convolution: no weight gradient for {}; convert the tensors to a float dtype", c.dtype);
  }
}

}  // namespace weft::cpu
