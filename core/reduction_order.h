#pragma once

#include "core/ops/math.h"

// The order of every reduction, a function of the number of elements alone: eager loops, tiles, generated code and CUDA
// kernels give the same bits for any layout and any number of threads. Std-free: the same text goes to g++, nvcc, NVRTC
// and generated code.
//
// A row of n values is cut into blocks of kBlock. In a block, 32 lanes start from the identity, lane j takes elements
// j, j + 32, j + 64, ... in this order, and a halving tree (16, 8, 4, 2, 1) leaves the result in lane 0. The results of
// the blocks are one more row, reduced the same way without being cut again.
//
// `Combine` has `static Acc identity()` and `static Acc combine(Acc a, Acc b)`; combining a value that came out of
// combine() with the identity must give the value back. `load(i)` gives element i as an Acc.

// Unrolled before the vectoriser sees it, a loop over selects becomes a chain of branches in g++.
#if defined(__GNUC__) && !defined(__clang__) && !defined(__CUDACC__)
#define WEFT_VECTOR_LOOP _Pragma("GCC ivdep") _Pragma("GCC unroll 1")
#else
#define WEFT_VECTOR_LOOP
#endif

namespace weft::reduction {

using math::i64;

inline constexpr int kLanes = 32;
inline constexpr i64 kBlock = 1024;

template <class Acc>
struct Sum {
  WEFT_FN static Acc identity() { return Acc(0); }
  WEFT_FN static Acc combine(Acc a, Acc b) { return a + b; }
};

template <class Acc>
struct Product {
  WEFT_FN static Acc identity() { return Acc(1); }
  WEFT_FN static Acc combine(Acc a, Acc b) { return a * b; }
};

WEFT_FN float lowest(float) { return -__builtin_bit_cast(float, 0x7f800000u); }
WEFT_FN double lowest(double) { return -__builtin_bit_cast(double, 0x7ff0000000000000ull); }
WEFT_FN i64 lowest(i64) { return i64(1ull << 63); }
WEFT_FN float highest(float) { return -lowest(0.0f); }
WEFT_FN double highest(double) { return -lowest(0.0); }
WEFT_FN i64 highest(i64) { return ~lowest(i64(0)); }

// NaN wins.
template <class Acc>
struct Max {
  WEFT_FN static Acc identity() { return lowest(Acc(0)); }
  WEFT_FN static Acc combine(Acc a, Acc b) { return math::max(a, b); }
};

// NaN wins.
template <class Acc>
struct Min {
  WEFT_FN static Acc identity() { return highest(Acc(0)); }
  WEFT_FN static Acc combine(Acc a, Acc b) { return math::min(a, b); }
};

template <class Combine, class Acc>
WEFT_FN void clear_lanes(Acc* lanes) {
  for (int j = 0; j < kLanes; ++j) lanes[j] = Combine::identity();
}

// Adds load(0) ... load(n - 1) to the 32 lanes. Calls may follow each other when every n but the last is a multiple
// of 32.
template <class Combine, class Acc, class Load>
WEFT_FN void fill_lanes(Acc* lanes, i64 n, Load load) {
  i64 i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for (int j = 0; j < kLanes; ++j) lanes[j] = Combine::combine(lanes[j], load(i + j));
  int rest = int(n - i);
  if (rest == 0) return;
  WEFT_VECTOR_LOOP
  for (int j = 0; j < kLanes; ++j)
    if (j < rest) lanes[j] = Combine::combine(lanes[j], load(i + j));
}

// The halving tree; destroys the lanes.
template <class Combine, class Acc>
WEFT_FN Acc tree(Acc* lanes) {
  WEFT_VECTOR_LOOP
  for (int j = 0; j < 16; ++j) lanes[j] = Combine::combine(lanes[j], lanes[j + 16]);
  WEFT_VECTOR_LOOP
  for (int j = 0; j < 8; ++j) lanes[j] = Combine::combine(lanes[j], lanes[j + 8]);
  WEFT_VECTOR_LOOP
  for (int j = 0; j < 4; ++j) lanes[j] = Combine::combine(lanes[j], lanes[j + 4]);
  for (int j = 0; j < 2; ++j) lanes[j] = Combine::combine(lanes[j], lanes[j + 2]);
  return Combine::combine(lanes[0], lanes[1]);
}

// One uncut block: n <= kBlock elements of a row, or the results of all blocks of a row.
template <class Combine, class Acc, class Load>
WEFT_FN Acc block(i64 n, Load load) {
  Acc lanes[kLanes];
  clear_lanes<Combine>(lanes);
  fill_lanes<Combine>(lanes, n, load);
  return tree<Combine>(lanes);
}

WEFT_FN i64 block_count(i64 n) { return (n + kBlock - 1) / kBlock; }
WEFT_FN i64 block_size(i64 n, i64 index) { return n - index * kBlock < kBlock ? n - index * kBlock : kBlock; }

// A whole row. To spread it over threads, compute the block() of each piece, then block() of the results when there is
// more than one.
template <class Combine, class Acc, class Load>
WEFT_FN Acc row(i64 n, Load load) {
  if (n <= kBlock) return block<Combine, Acc>(n, load);
  return block<Combine, Acc>(block_count(n), [&](i64 b) {
    return block<Combine, Acc>(block_size(n, b), [&](i64 i) { return load(b * kBlock + i); });
  });
}

// Lanes beyond n hold the identity and change nothing: the tree may start at this width.
WEFT_FN int tree_width(i64 n) {
  int width = 1;
  while (width < n && width < kLanes) width *= 2;
  return width;
}

// Halves `width` (a power of two) groups of `Columns` values down to the first group.
template <class Combine, int Columns, class Acc>
WEFT_FN void tree_of_columns(Acc* lanes, int width) {
  for (int half = width / 2; half > 0; half /= 2)
    for (int j = 0; j < half; ++j) {
      Acc* low = lanes + j * Columns;
      const Acc* high = low + half * Columns;
      WEFT_VECTOR_LOOP
      for (int c = 0; c < Columns; ++c) low[c] = Combine::combine(low[c], high[c]);
    }
}

// One uncut block of `count` <= Columns neighbouring columns: results in lanes[0] ... lanes[count - 1].
// `lanes` holds tree_width(n) groups of `Columns` values.
template <class Combine, int Columns, class Acc, class Load>
WEFT_FN void block_of_columns(Acc* lanes, i64 n, int count, Load load) {
  int width = tree_width(n);
  i64 started = n < width ? n : width;
  for (i64 i = 0; i < started; ++i) {
    WEFT_VECTOR_LOOP
    for (int c = 0; c < count; ++c) lanes[i * Columns + c] = Combine::combine(Combine::identity(), load(i, c));
  }
  for (int k = int(started) * Columns; k < width * Columns; ++k) lanes[k] = Combine::identity();
  for (i64 i = started; i < n; ++i) {
    Acc* lane = lanes + (i % kLanes) * Columns;
    WEFT_VECTOR_LOOP
    for (int c = 0; c < count; ++c) lane[c] = Combine::combine(lane[c], load(i, c));
  }
  tree_of_columns<Combine, Columns>(lanes, width);
}

// Reduces each of `columns` columns of n elements, bits as row(): load(i, c) gives element i of column c, store(c,
// value) takes a result. Fast when load(i, c), load(i, c + 1), ... are neighbours in memory.
template <class Combine, class Acc, class Load, class Store>
WEFT_FN void columns(i64 n, i64 columns, Load load, Store store) {
  constexpr int kColumns = 64;
  Acc lanes[kLanes * kColumns];
  i64 blocks = block_count(n);
  for (i64 first = 0; first < columns; first += kColumns) {
    int count = int(columns - first < kColumns ? columns - first : kColumns);
    if (blocks <= 1) {
      auto at = [&](i64 i, int c) { return load(i, first + c); };
      if (count == kColumns)
        block_of_columns<Combine, kColumns>(lanes, n, kColumns, at);
      else
        block_of_columns<Combine, kColumns>(lanes, n, count, at);
      for (int c = 0; c < count; ++c) store(first + c, lanes[c]);
      continue;
    }
    Acc totals[kLanes * kColumns];
    for (int k = 0; k < kLanes * kColumns; ++k) totals[k] = Combine::identity();
    for (i64 b = 0; b < blocks; ++b) {
      auto at = [&](i64 i, int c) { return load(b * kBlock + i, first + c); };
      block_of_columns<Combine, kColumns>(lanes, block_size(n, b), count, at);
      Acc* total = totals + (b % kLanes) * kColumns;
      for (int c = 0; c < count; ++c) total[c] = Combine::combine(total[c], lanes[c]);
    }
    tree_of_columns<Combine, kColumns>(totals, kLanes);
    for (int c = 0; c < count; ++c) store(first + c, totals[c]);
  }
}

// Many rows of n elements, bits as row(): load(r, i) gives element i of row r, store(r, value) takes a result. Rows of
// a few elements go side by side, so that their trees run as vectors.
template <class Combine, class Acc, class Load, class Store>
WEFT_FN void rows(i64 rows, i64 n, Load load, Store store) {
  constexpr int kBatch = 16;
  i64 done = 0;
  if (n < kLanes) {
    Acc lanes[kLanes * kBatch];
    for (; done + kBatch <= rows; done += kBatch) {
      block_of_columns<Combine, kBatch>(lanes, n, kBatch, [&](i64 i, int r) { return load(done + r, i); });
      for (int r = 0; r < kBatch; ++r) store(done + r, lanes[r]);
    }
  }
  for (; done < rows; ++done) store(done, row<Combine, Acc>(n, [&](i64 i) { return load(done, i); }));
}

}  // namespace weft::reduction
