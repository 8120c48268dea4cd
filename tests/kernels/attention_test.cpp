#include "kernels/cpu/attention.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "core/half.h"
#include "core/parallel.h"
#include "tests/catch.h"
#include "tests/sanitized.h"

using weft::DType;
using namespace weft::kernels;

namespace {

const double kInf = std::numeric_limits<double>::infinity();

double get(DType t, const void* p, int64_t i) {
  switch (t) {
    case DType::f32:
      return static_cast<const float*>(p)[i];
    case DType::f64:
      return static_cast<const double*>(p)[i];
    case DType::bf16:
      return weft::to_float(static_cast<const weft::BFloat16*>(p)[i]);
    default:
      return weft::to_float(static_cast<const weft::Half*>(p)[i]);
  }
}
void set(DType t, void* p, int64_t i, double x) {
  switch (t) {
    case DType::f32:
      static_cast<float*>(p)[i] = static_cast<float>(x);
      break;
    case DType::f64:
      static_cast<double*>(p)[i] = x;
      break;
    case DType::bf16:
      static_cast<weft::BFloat16*>(p)[i] = weft::to_bf16(static_cast<float>(x));
      break;
    default:
      static_cast<weft::Half*>(p)[i] = weft::to_f16(static_cast<float>(x));
  }
}

struct Case {
  int64_t batch, heads, kv_heads, tq, tk, d, dv;
  bool causal = false;
  int mask = 0;  // 1 added, 2 bool, 3 bool with rows that see nothing
  DType dtype = DType::f32;
};

// [batch, time, heads, width] in memory: the layout of a fused qkv projection, with a gap after each row.
struct Buffer {
  Buffer(DType t, int64_t b, int64_t h, int64_t n, int64_t w)
      : dtype(t),
        heads(h),
        time(n),
        width(w),
        row(h * w + 3),
        bytes((b * n * row + 8) * weft::itemsize(t), char(0x7f)) {}
  int64_t at(int64_t b, int64_t h, int64_t t, int64_t i) const { return (b * time + t) * row + h * width + i; }
  double value(int64_t b, int64_t h, int64_t t, int64_t i) const { return get(dtype, bytes.data(), at(b, h, t, i)); }
  AttentionOperand operand() const { return {bytes.data(), time * row, width, row}; }
  AttentionResult result() { return {bytes.data(), time * row, width, row}; }
  DType dtype;
  int64_t heads, time, width, row;
  std::vector<char> bytes;
};

struct Run {
  Case c;
  Buffer q, k, v, dout, out, dq, dk, dv;
  std::vector<double> mask;
  std::vector<char> mask_bytes;
  std::vector<double> lse;  // room for f64

  explicit Run(const Case& t)
      : c(t),
        q(t.dtype, t.batch, t.heads, t.tq, t.d),
        k(t.dtype, t.batch, t.kv_heads, t.tk, t.d),
        v(t.dtype, t.batch, t.kv_heads, t.tk, t.dv),
        dout(t.dtype, t.batch, t.heads, t.tq, t.dv),
        out(dout),
        dq(q),
        dk(k),
        dv(v),
        mask(t.tq * t.tk),
        mask_bytes(t.tq * t.tk * weft::itemsize(t.dtype)),
        lse(t.batch * t.heads * t.tq) {
    std::mt19937 random(7);
    std::normal_distribution<double> normal;
    for (Buffer* x : {&q, &k, &v, &dout}) {
      for (size_t i = 0; i < x->bytes.size() / weft::itemsize(t.dtype); ++i)
        set(t.dtype, x->bytes.data(), i, normal(random));
    }
    for (int64_t i = 0; i < t.tq * t.tk; ++i) {
      if (t.mask == 1) {
        set(t.dtype, mask_bytes.data(), i, normal(random));
        mask[i] = get(t.dtype, mask_bytes.data(), i);
      } else if (t.mask >= 2) {
        const bool seen = random() % 3 != 0 && !(t.mask == 3 && i / t.tk % 4 == 1);
        mask_bytes[i] = seen;
        mask[i] = seen ? 0 : -kInf;
      }
    }
    Attention a = description();
    attention(a, out.result(), lse.data());
    attention_backward(a, dout.operand(), out.operand(), lse.data(), dq.result(), dk.result(), dv.result());
  }
  Attention description() const {
    Attention a;
    a.batch = c.batch, a.heads = c.heads, a.kv_heads = c.kv_heads, a.tq = c.tq, a.tk = c.tk, a.d = c.d, a.dv = c.dv;
    a.dtype = c.dtype, a.causal = c.causal, a.scale = 1 / std::sqrt(static_cast<double>(c.d));
    a.q = q.operand(), a.k = k.operand(), a.v = v.operand();
    if (c.mask) {
      a.mask = mask_bytes.data(), a.bool_mask = c.mask >= 2;
      a.mask_strides[2] = c.tk, a.mask_strides[3] = 1;
    }
    return a;
  }
};

// Largest error relative to the largest value of out, dq, dk, dv.
double error_of(const Case& c) {
  const Run run(c);
  const double scale = 1 / std::sqrt(static_cast<double>(c.d));
  double worst = 0;
  const auto compare = [&](const Buffer& got, int64_t b, int64_t h, const std::vector<double>& want) {
    double largest = 1e-6;
    for (double x : want) largest = std::max(largest, std::abs(x));
    for (int64_t t = 0; t < got.time; ++t) {
      for (int64_t i = 0; i < got.width; ++i) {
        const double error = std::abs(got.value(b, h, t, i) - want[t * got.width + i]) / largest;
        if (!(error <= worst)) worst = error;
      }
    }
  };
  for (int64_t b = 0; b < c.batch; ++b) {
    for (int64_t kv = 0; kv < c.kv_heads; ++kv) {
      std::vector<double> dk(c.tk * c.d), dv(c.tk * c.dv);
      for (int64_t h = kv * (c.heads / c.kv_heads); h < (kv + 1) * (c.heads / c.kv_heads); ++h) {
        std::vector<double> out(c.tq * c.dv), dq(c.tq * c.d);
        for (int64_t r = 0; r < c.tq; ++r) {
          std::vector<double> p(c.tk), dp(c.tk);
          double largest = -kInf, total = 0, delta = 0;
          for (int64_t j = 0; j < c.tk; ++j) {
            for (int64_t i = 0; i < c.d; ++i) p[j] += scale * run.q.value(b, h, r, i) * run.k.value(b, kv, j, i);
            p[j] += run.mask[r * c.tk + j];
            if (c.causal && j > r) p[j] = -kInf;
            largest = std::max(largest, p[j]);
          }
          for (double& x : p) total += x = largest == -kInf ? 0 : std::exp(x - largest);
          for (double& x : p) x = total == 0 ? 0 : x / total;
          for (int64_t j = 0; j < c.tk; ++j) {
            for (int64_t i = 0; i < c.dv; ++i) {
              out[r * c.dv + i] += p[j] * run.v.value(b, kv, j, i);
              dp[j] += run.dout.value(b, h, r, i) * run.v.value(b, kv, j, i);
              dv[j * c.dv + i] += p[j] * run.dout.value(b, h, r, i);
            }
            delta += p[j] * dp[j];
          }
          for (int64_t j = 0; j < c.tk; ++j) {
            const double ds = scale * p[j] * (dp[j] - delta);
            for (int64_t i = 0; i < c.d; ++i) {
              dq[r * c.d + i] += ds * run.k.value(b, kv, j, i);
              dk[j * c.d + i] += ds * run.q.value(b, h, r, i);
            }
          }
        }
        compare(run.out, b, h, out);
        compare(run.dq, b, h, dq);
      }
      compare(run.dk, b, kv, dk);
      compare(run.dv, b, kv, dv);
    }
  }
  return worst;
}

double tolerance(DType t) {
  switch (t) {
    case DType::f32:
      return 3e-6;
    case DType::f64:
      return 1e-14;
    case DType::bf16:
      return 2e-2;
    default:
      return 3e-3;
  }
}

const Case kCases[] = {{2, 3, 3, 5, 7, 8, 8},
                       {2, 3, 3, 64, 64, 32, 32, true},
                       {1, 2, 2, 33, 33, 16, 16, true},
                       {1, 4, 2, 40, 70, 32, 16},
                       {1, 4, 1, 45, 45, 20, 24, true},
                       {2, 2, 2, 30, 17, 24, 40, true},
                       {1, 2, 2, 20, 50, 16, 16, false, 1},
                       {1, 2, 2, 20, 50, 16, 16, false, 2},
                       {1, 2, 2, 20, 50, 16, 16, false, 3},
                       {1, 2, 1, 60, 60, 16, 16, true, 3},
                       {1, 1, 1, 1, 1, 1, 1},
                       {1, 1, 1, 300, 300, 16, 16, true},
                       {1, 1, 1, 20, 1100, 8, 8, false, 1},
                       {1, 2, 1, 1100, 1090, 8, 8, true}};

}  // namespace

TEST_CASE("attention and its gradients against the definition") {
  for (DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16}) {
    for (Case c : kCases) {
      if (c.tq * c.tk > 100000 && (dtype != DType::f32 || kThreadSanitized)) continue;
      c.dtype = dtype;
      CAPTURE(weft::name(dtype), c.heads, c.kv_heads, c.tq, c.tk, c.d, c.dv, c.causal, c.mask);
      REQUIRE(error_of(c) <= tolerance(dtype));
    }
  }
}

TEST_CASE("attention writes its elements only") {
  for (DType dtype : {DType::f32, DType::bf16}) {
    Run run({2, 2, 1, 20, 20, 8, 8, true, 0, dtype});
    for (Buffer* x : {&run.out, &run.dq, &run.dk, &run.dv}) {
      const size_t size = weft::itemsize(dtype);
      const std::vector<char> filler(3 * size, char(0x7f));
      for (int64_t r = 0; r < 2 * x->time; ++r) {
        const int64_t gap = r * x->row + x->heads * x->width;
        REQUIRE(std::memcmp(x->bytes.data() + gap * size, filler.data(), filler.size()) == 0);
      }
    }
  }
}

TEST_CASE("attention of no keys is zero, of no rows nothing") {
  Run none({1, 2, 2, 5, 0, 4, 4});
  for (int64_t r = 0; r < 5; ++r) {
    for (int64_t i = 0; i < 4; ++i) {
      REQUIRE(none.out.value(0, 1, r, i) == 0);
      REQUIRE(none.dq.value(0, 1, r, i) == 0);
    }
    REQUIRE(std::isinf(reinterpret_cast<float*>(none.lse.data())[r]));
  }
  Run empty({1, 2, 2, 0, 5, 4, 4});
  for (int64_t r = 0; r < 5; ++r) REQUIRE(empty.dk.value(0, 0, r, 0) == 0);
}

TEST_CASE("attention: the same bits for any number of threads") {
  const int before = weft::num_threads();
  for (const Case& c : {Case{3, 4, 2, 70, 70, 16, 16, true}, Case{1, 2, 2, 600, 600, 16, 16, false}}) {
    weft::set_num_threads(1);
    const Run one(c);
    for (int threads : {2, 5}) {
      weft::set_num_threads(threads);
      const Run other(c);
      REQUIRE(one.out.bytes == other.out.bytes);
      REQUIRE(one.dq.bytes == other.dq.bytes);
      REQUIRE(one.dk.bytes == other.dk.bytes);
      REQUIRE(one.dv.bytes == other.dv.bytes);
    }
  }
  weft::set_num_threads(before);
}
