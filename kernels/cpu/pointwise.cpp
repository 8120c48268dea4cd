#include "core/pointwise.h"

#include "core/error.h"
#include "core/parallel.h"
#include "kernels/cpu/convert.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/stream.h"
#include "kernels/cpu/strided.h"
#include "kernels/cpu/transpose.h"

namespace weft::cpu {
namespace {

constexpr int64_t kTile = 512;       // elements; all operands of a tile stay in L1
constexpr int64_t kLongTile = 4096;  // where every operand is read and written where it lies
constexpr int64_t kGrain = 32768;    // elements a thread takes at a time
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

// `ready`: of each operand, its values from `begin` on in loop order, where somebody has laid them out already.
void run_tiles(const Plan& p, const StridedLoop<kMaxOperands>& shape, int64_t begin, int64_t end,
               const char* const* ready = nullptr) {
  alignas(64) char tiles[kMaxOperands][kTile * 8];
  const void* in[kMaxOperands];
  const char* base[kMaxOperands];
  // direct: one run of memory; row: a run in each row of the loop, and no tile crosses rows.
  enum class Way { direct, row, single, staged } way[kMaxOperands];
  const int64_t inner = shape.inner();
  const bool by_rows = inner >= kTile / 2;
  int64_t longest = kLongTile;
  const int64_t width = static_cast<int64_t>(itemsize(p.compute));
  alignas(Cursor) char cursor_memory[kMaxOperands][sizeof(Cursor)];
  Cursor* cursor[kMaxOperands];
  for (int k = 0; k < p.n; ++k) {
    const Tensor& t = p.in[k];
    const int operand = k + 1;
    base[k] = static_cast<const char*>(t.data_ptr());
    if (ready && ready[k]) {
      way[k] = Way::direct;
      base[k] = ready[k] - begin * width;
    } else if (shape.linear(operand) && t.dtype() == p.compute && !p.truth) {
      way[k] = Way::direct;
    } else if (by_rows && shape.strides[operand].back() == 1 && t.dtype() == p.compute && !p.truth) {
      way[k] = Way::row;
      cursor[k] = new (cursor_memory[k]) Cursor(shape.sizes, shape.strides[operand], begin);
    } else if (shape.single(operand)) {
      longest = kTile;
      way[k] = Way::single;
      Cursor at(shape.sizes, shape.strides[operand], 0);
      load(p, t, at, tiles[k], std::min(kTile, end - begin));
      in[k] = tiles[k];
    } else {
      longest = kTile;
      way[k] = Way::staged;
      cursor[k] = new (cursor_memory[k]) Cursor(shape.sizes, shape.strides[operand], begin);
      in[k] = tiles[k];
    }
  }
  const bool out_direct = shape.linear(0) && p.out->dtype() == p.computed;
  if (!out_direct) longest = kTile;
  Cursor out_at(shape.sizes, shape.strides[0], begin);
  char* out_base = static_cast<char*>(p.out->data_ptr());
  const int64_t out_item = static_cast<int64_t>(itemsize(p.out->dtype()));
  const int64_t computed_width = static_cast<int64_t>(itemsize(p.computed));
  for (int64_t i = begin, n = 0; i < end; i += n) {
    n = std::min(longest, end - i);
    if (by_rows) n = std::min(n, inner - i % inner);
    for (int k = 0; k < p.n; ++k) {
      if (way[k] == Way::direct)
        in[k] = base[k] + i * width;
      else if (way[k] == Way::row)
        cursor[k]->take(n, [&](int64_t offset, int64_t, int64_t) { in[k] = base[k] + offset * width; });
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

// Rows of the loop a piece takes when operands are crossed: two neighbouring lines of memory of a f32 operand.
constexpr int64_t kRows = 32;

// Operands whose memory runs across the rows of the loop are transposed, a block of rows at a time, before the tiles
// read them. `crossed`: bit k for operand k.
void run_rows(const Plan& p, const StridedLoop<kMaxOperands>& shape, unsigned crossed) {
  const int last = shape.sizes.size() - 1;
  const int64_t rows = shape.sizes[last - 1], cols = shape.inner(), item = static_cast<int64_t>(itemsize(p.compute));
  const int64_t blocks = (rows + kRows - 1) / kRows, area = std::min(rows, kRows) * cols;
  // Long rows are laid out one by one, off the strides of powers of two, which would share a few cache sets.
  const bool apart = cols >= kTile;
  const int64_t pitch = apart ? cols + 64 / item : cols;
  const int64_t slot = (std::min(rows, kRows) * pitch * item + 63) / 64 * 64;
  parallel_for(shape.numel / (rows * cols) * blocks, std::max<int64_t>(1, kGrain / area),
               [&](int64_t from, int64_t to) {
                 char* room = scratch<char>(Scratch::rows, slot * __builtin_popcount(crossed));
                 for (int64_t block = from; block < to; ++block) {
                   const int64_t row = block % blocks * kRows, n = std::min(kRows, rows - row);
                   const int64_t begin = (block / blocks * rows + row) * cols;
                   const char* ready[kMaxOperands] = {};
                   char* at = room;
                   for (int k = 0; k < p.n; ++k) {
                     if (!(crossed >> k & 1)) continue;
                     int64_t offset = row, index = block / blocks;
                     for (int d = last - 2; d >= 0; --d) {
                       offset += index % shape.sizes[d] * shape.strides[k + 1][d];
                       index /= shape.sizes[d];
                     }
                     transpose_bytes(static_cast<const char*>(p.in[k].data_ptr()) + offset * item,
                                     shape.strides[k + 1][last], at, pitch, cols, n, item);
                     ready[k] = at;
                     at += slot;
                   }
                   if (!apart) {
                     run_tiles(p, shape, begin, begin + n * cols, ready);
                     continue;
                   }
                   for (int64_t r = 0; r < n; ++r) {
                     run_tiles(p, shape, begin + r * cols, begin + (r + 1) * cols, ready);
                     for (int k = 0; k < p.n; ++k)
                       if (ready[k]) ready[k] += pitch * item;
                   }
                 }
               });
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
    const int64_t grain = grain_of(numel, kGrain);
    if (numel <= grain) return piece(0, numel);
    bool in_place = false;
    for (int k = 0; k < n; ++k) in_place |= in[k].shares_storage_with(out);
    if (in_place || !streams(numel * (n * width + out_width))) return parallel_for(numel, grain, piece);
    parallel_for(numel, kGrain, [&](int64_t begin, int64_t end) {
      alignas(64) char tile[kTile * 8];
      for (int64_t i = begin; i < end; i += kTile) {
        const int64_t count = std::min(kTile, end - i);
        const void* x[kMaxOperands];
        for (int k = 0; k < n; ++k) x[k] = static_cast<const char*>(in[k].data_ptr()) + i * width;
        loop(tile, x, params, count);
        stream(static_cast<char*>(out.data_ptr()) + i * out_width, tile, count * out_width);
      }
      streamed();
    });
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
  unsigned crossed = 0;
  for (int k = 0; k < n && !truth; ++k)
    if (in[k].dtype() == compute && shape.crossed(k + 1) == shape.sizes.size() - 2 && shape.sizes.size() > 1)
      crossed |= 1u << k;
  if (crossed) return run_rows(plan, shape, crossed);
  parallel_for(numel, grain_of(numel, kGrain), [&](int64_t begin, int64_t end) { run_tiles(plan, shape, begin, end); });
}

}  // namespace weft::cpu
