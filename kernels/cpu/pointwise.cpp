#include "core/pointwise.h"

#include "core/error.h"
#include "core/parallel.h"
#include "kernels/cpu/convert.h"
#include "kernels/cpu/strided.h"

namespace weft::cpu {
namespace {

constexpr int64_t kTile = 512;     // elements; all operands of a tile stay in L1
constexpr int64_t kGrain = 32768;  // elements a thread takes at a time
constexpr int kMaxOperands = 6;

struct Plan {
  LoopFn loop;
  const Scalar* params;
  int n;           // inputs
  DType compute;   // what the loop reads
  DType computed;  // what the loop writes
  bool truth;
  const Tensor* out;
  const Tensor* in;
};

// Loads `n` elements of an operand into `tile` in the compute type; through bool when only truth matters.
void load(const Plan& p, const Tensor& t, Cursor& at, char* tile, int64_t n) {
  const char* base = static_cast<const char*>(t.data_ptr());
  const int64_t item = static_cast<int64_t>(itemsize(t.dtype()));
  const int64_t width = static_cast<int64_t>(itemsize(p.compute));
  at.take(n, [&](int64_t offset, int64_t stride, int64_t count) {
    const void* src = base + offset * item;
    if (p.truth) {
      uint8_t truth[kTile];
      converter(DType::bool_, t.dtype())(truth, 1, src, stride, count);
      converter(p.compute, DType::bool_)(tile, 1, truth, 1, count);
    } else {
      converter(p.compute, t.dtype())(tile, 1, src, stride, count);
    }
    tile += count * width;
  });
}

void run_tiles(const Plan& p, const StridedLoop<kMaxOperands>& shape, int64_t begin, int64_t end) {
  alignas(64) char tiles[kMaxOperands][kTile * 8];
  const void* in[kMaxOperands];
  enum class Way { direct, single, staged } way[kMaxOperands];
  const int64_t width = static_cast<int64_t>(itemsize(p.compute));
  alignas(Cursor) char cursor_memory[kMaxOperands][sizeof(Cursor)];
  Cursor* cursor[kMaxOperands];
  for (int k = 0; k < p.n; ++k) {
    const Tensor& t = p.in[k];
    const int operand = k + 1;
    if (shape.linear(operand) && t.dtype() == p.compute && !p.truth) {
      way[k] = Way::direct;
    } else if (shape.single(operand)) {
      way[k] = Way::single;
      Cursor at(shape.sizes, shape.strides[operand], 0);
      load(p, t, at, tiles[k], std::min(kTile, end - begin));
      in[k] = tiles[k];
    } else {
      way[k] = Way::staged;
      cursor[k] = new (cursor_memory[k]) Cursor(shape.sizes, shape.strides[operand], begin);
      in[k] = tiles[k];
    }
  }
  const bool out_direct = shape.linear(0) && p.out->dtype() == p.computed;
  Cursor out_at(shape.sizes, shape.strides[0], begin);
  char* out_base = static_cast<char*>(p.out->data_ptr());
  const int64_t out_item = static_cast<int64_t>(itemsize(p.out->dtype()));
  const int64_t computed_width = static_cast<int64_t>(itemsize(p.computed));
  for (int64_t i = begin; i < end; i += kTile) {
    int64_t n = std::min(kTile, end - i);
    for (int k = 0; k < p.n; ++k) {
      if (way[k] == Way::direct)
        in[k] = static_cast<const char*>(p.in[k].data_ptr()) + i * width;
      else if (way[k] == Way::staged)
        load(p, p.in[k], *cursor[k], tiles[k], n);
    }
    if (out_direct) {
      p.loop(out_base + i * out_item, in, p.params, n);
    } else {
      char* tile = tiles[kMaxOperands - 1];
      p.loop(tile, in, p.params, n);
      out_at.take(n, [&](int64_t offset, int64_t stride, int64_t count) {
        converter(p.out->dtype(), p.computed)(out_base + offset * out_item, stride, tile, 1, count);
        tile += count * computed_width;
      });
    }
  }
}

}  // namespace

void run_pointwise(const Loops& loops, DType compute, bool truth, const Tensor& out, const Tensor* in, int n,
                   const Scalar* params) {
  LoopFn loop = compute == DType::f32 ? loops.f32 : compute == DType::f64 ? loops.f64 : loops.i64;
  WEFT_ASSERT(loop != nullptr && n < kMaxOperands, "pointwise: no loop for {}", compute);
  const int64_t numel = out.numel();
  if (numel == 0) return;
  const DType computed = loops.writes_bool ? DType::bool_ : compute;

  // Everything contiguous, of the output's shape and already in the compute type: straight loops over memory.
  bool straight = !truth && out.dtype() == computed && out.impl()->contiguous;
  for (int k = 0; k < n && straight; ++k)
    straight = in[k].dtype() == compute && in[k].impl()->contiguous && in[k].numel() == numel &&
               (numel == 1 || in[k].sizes() == out.sizes());
  if (straight) {
    const int64_t width = static_cast<int64_t>(itemsize(compute)), out_width = static_cast<int64_t>(itemsize(computed));
    auto piece = [&](int64_t begin, int64_t end) {
      const void* x[kMaxOperands];
      for (int k = 0; k < n; ++k) x[k] = static_cast<const char*>(in[k].data_ptr()) + begin * width;
      loop(static_cast<char*>(out.data_ptr()) + begin * out_width, x, params, end - begin);
    };
    if (numel <= kGrain)
      piece(0, numel);
    else
      parallel_for(numel, kGrain, piece);
    return;
  }

  const Dims* sizes[kMaxOperands] = {&out.sizes()};
  const Dims* strides[kMaxOperands] = {&out.strides()};
  for (int k = 0; k < n; ++k) {
    sizes[k + 1] = &in[k].sizes();
    strides[k + 1] = &in[k].strides();
  }
  StridedLoop<kMaxOperands> shape(out.sizes(), n + 1, sizes, strides);
  Plan plan{loop, params, n, compute, computed, truth, &out, in};
  parallel_for(numel, kGrain, [&](int64_t begin, int64_t end) { run_tiles(plan, shape, begin, end); });
}

}  // namespace weft::cpu
