#include "kernels/cpu/gemm.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "core/parallel.h"
#include "tests/catch.h"
#include "tests/sanitized.h"

using weft::DType;
using weft::kernels::Gemm;

namespace {

struct Threads {
  explicit Threads(int n) : before(weft::num_threads()) { weft::set_num_threads(n); }
  ~Threads() { weft::set_num_threads(before); }
  int before;
};

// bf16 and f16 stored values, exactly representable: random values are multiples of 1/8 in [-2, 2].
uint16_t to_bf16(double x) {
  const float f = static_cast<float>(x);
  uint32_t bits;
  std::memcpy(&bits, &f, 4);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}
double from_bf16(uint16_t x) {
  const uint32_t bits = static_cast<uint32_t>(x) << 16;
  float f;
  std::memcpy(&f, &bits, 4);
  return f;
}
double from_f16(uint16_t x) {
  const int exponent = x >> 10 & 31, mantissa = x & 1023;
  const double m = exponent ? std::ldexp(1024 + mantissa, exponent - 25) : std::ldexp(mantissa, -24);
  return x >> 15 ? -m : m;
}
uint16_t to_f16(double x) {  // |x| in the normal range or 0
  if (x == 0) return 0;
  int e;
  const double m = std::frexp(std::abs(x), &e);  // m in [1/2, 1)
  const int mantissa = static_cast<int>(std::nearbyint(m * 2048));
  return static_cast<uint16_t>((x < 0 ? 0x8000 : 0) + ((e + 14) << 10) + mantissa - 1024);
}

struct Buffer {
  DType dtype;
  std::vector<char> bytes;
  Buffer(DType t, size_t count) : dtype(t), bytes(count * weft::itemsize(t) + 8) {}
  void* at(int64_t i) { return bytes.data() + i * weft::itemsize(dtype); }
  template <class T>
  T& as(int64_t i) {
    return *static_cast<T*>(at(i));
  }
  void set(int64_t i, double x) {
    switch (dtype) {
      case DType::f32:
        as<float>(i) = static_cast<float>(x);
        break;
      case DType::f64:
        as<double>(i) = x;
        break;
      case DType::bf16:
        as<uint16_t>(i) = to_bf16(x);
        break;
      case DType::f16:
        as<uint16_t>(i) = to_f16(x);
        break;
      case DType::i8:
        as<int8_t>(i) = static_cast<int8_t>(static_cast<int64_t>(x));
        break;
      case DType::u8:
        as<uint8_t>(i) = static_cast<uint8_t>(static_cast<int64_t>(x));
        break;
      case DType::i16:
        as<int16_t>(i) = static_cast<int16_t>(static_cast<int64_t>(x));
        break;
      case DType::i32:
        as<int32_t>(i) = static_cast<int32_t>(static_cast<int64_t>(x));
        break;
      default:
        as<int64_t>(i) = static_cast<int64_t>(x);
    }
  }
  double get(int64_t i) {
    switch (dtype) {
      case DType::f32:
        return as<float>(i);
      case DType::f64:
        return as<double>(i);
      case DType::bf16:
        return from_bf16(as<uint16_t>(i));
      case DType::f16:
        return from_f16(as<uint16_t>(i));
      case DType::i8:
        return as<int8_t>(i);
      case DType::u8:
        return as<uint8_t>(i);
      case DType::i16:
        return as<int16_t>(i);
      case DType::i32:
        return as<int32_t>(i);
      default:
        return static_cast<double>(as<int64_t>(i));
    }
  }
};

double tolerance(DType t) {
  switch (t) {
    case DType::f32:
      return 2e-6;
    case DType::f64:
      return 1e-14;
    case DType::bf16:
      return 6e-3;
    case DType::f16:
      return 8e-4;
    default:
      return 0;
  }
}

enum Layout { kRows, kColumns, kPaddedRows, kPaddedColumns, kStepped };

void strides(Layout layout, int64_t rows, int64_t columns, int64_t& rs, int64_t& cs) {
  switch (layout) {
    case kRows:
      rs = columns, cs = 1;
      break;
    case kColumns:
      rs = 1, cs = rows;
      break;
    case kPaddedRows:
      rs = columns + 3, cs = 1;
      break;
    case kPaddedColumns:
      rs = 1, cs = rows + 5;
      break;
    case kStepped:
      rs = 2 * columns + 1, cs = 2;
      break;
  }
}

struct Case {
  int64_t m, n, k;
  DType dtype = DType::f32;
  Layout a = kRows, b = kRows;
  double alpha = 1, beta = 0;
  bool bias = false;
};

// Largest |error| / (|alpha| sum |a b| + |beta c| + |bias|), and infinity where memory outside C changed.
// With `bytes` only the bytes of C are wanted.
double error_of(const Case& t, std::vector<char>* bytes = nullptr) {
  std::mt19937 random(static_cast<unsigned>(t.m * 31 + t.n * 7 + t.k));
  std::uniform_int_distribution<int> eighths(-16, 16);
  const bool floating = weft::is_floating(t.dtype);
  const auto fill = [&](Buffer& buffer, int64_t count) {
    for (int64_t i = 0; i < count; ++i) buffer.set(i, eighths(random) / (floating ? 8.0 : 1.0));
  };
  Gemm g;
  g.m = t.m, g.n = t.n, g.k = t.k, g.dtype = t.dtype, g.alpha = t.alpha, g.beta = t.beta;
  strides(t.a, t.m, t.k, g.a_rs, g.a_cs);
  strides(t.b, t.k, t.n, g.b_rs, g.b_cs);
  g.ldc = t.n + 2;
  const int64_t a_count = t.m * g.a_rs + t.k * g.a_cs + 1, b_count = t.k * g.b_rs + t.n * g.b_cs + 1;
  Buffer a(t.dtype, a_count), b(t.dtype, b_count), c(t.dtype, t.m * g.ldc), bias(t.dtype, t.n);
  fill(a, a_count), fill(b, b_count), fill(c, t.m * g.ldc), fill(bias, t.n);
  if (t.beta == 0 && floating) {
    for (int64_t i = 0; i < t.m; ++i) {
      for (int64_t j = 0; j < t.n; ++j) std::memset(c.at(i * g.ldc + j), 0xff, weft::itemsize(t.dtype));  // NaN
    }
  }
  Buffer before = c;
  g.a = a.at(0), g.b = b.at(0), g.c = c.at(0);
  if (t.bias) g.bias = bias.at(0);
  weft::kernels::gemm(g);
  if (bytes) {
    *bytes = c.bytes;
    return 0;
  }
  double worst = 0;
  for (int64_t i = 0; i < t.m; ++i) {
    for (int64_t j = 0; j < t.n; ++j) {
      double sum = 0, scale = 1e-300;
      for (int64_t p = 0; p < t.k; ++p) {
        const double x = a.get(i * g.a_rs + p * g.a_cs) * b.get(p * g.b_rs + j * g.b_cs);
        sum += x;
        scale += std::abs(x);
      }
      double want = t.alpha * sum;
      scale *= std::abs(t.alpha);
      if (t.beta != 0)
        want += t.beta * before.get(i * g.ldc + j), scale += std::abs(t.beta * before.get(i * g.ldc + j));
      if (t.bias) want += bias.get(j), scale += std::abs(bias.get(j));
      const double got = c.get(i * g.ldc + j);
      if (!floating) {
        Buffer wrapped(t.dtype, 1);
        wrapped.set(0, want);
        want = wrapped.get(0);
      }
      const double error = got == want ? 0 : std::abs(got - want) / scale;
      if (!(error <= worst)) worst = error;
    }
    for (int64_t j = t.n; j < g.ldc; ++j) {
      if (std::memcmp(c.at(i * g.ldc + j), before.at(i * g.ldc + j), weft::itemsize(t.dtype)) != 0) {
        return std::numeric_limits<double>::infinity();
      }
    }
  }
  return worst;
}

const DType kFloats[] = {DType::f32, DType::f64, DType::bf16, DType::f16};

}  // namespace

TEST_CASE("gemm: every layout, scale, bias and dtype") {
  const int64_t sizes[][3] = {{1, 1, 1},   {3, 5, 7},   {4, 16, 16}, {8, 8, 8},    {14, 32, 33},
                              {1, 40, 50}, {1, 300, 9}, {37, 1, 66}, {29, 33, 17}, {15, 17, 129}};
  for (DType dtype : kFloats) {
    for (auto& s : sizes) {
      for (Layout a : {kRows, kColumns, kPaddedRows, kPaddedColumns, kStepped}) {
        for (Layout b : {kRows, kColumns, kPaddedRows, kPaddedColumns, kStepped}) {
          for (int form = 0; form < 3; ++form) {
            Case t{s[0], s[1], s[2], dtype, a, b};
            if (form == 1) t.alpha = 0.5, t.beta = 2;
            if (form == 2) t.bias = true, t.beta = 1;
            CAPTURE(t.m, t.n, t.k, weft::name(dtype), a, b, form);
            REQUIRE(error_of(t) <= tolerance(dtype));
          }
        }
      }
    }
  }
}

TEST_CASE("gemm: blocked and sliced sizes") {
  for (DType dtype : kFloats) {
    if (kThreadSanitized && dtype != DType::f32) continue;  // the definition takes nearly all of the time
    for (const Case& t :
         {Case{130, 200, 410}, Case{131, 97, 1000, DType::f32, kColumns, kColumns, -1.5, 0.5, true},
          Case{20, 70, 1500, DType::f32, kColumns, kRows}, Case{33, 40, 9001, DType::f32, kColumns, kRows, 2, 1},
          Case{300, 64, 129, DType::f32, kRows, kColumns, 1, 0, true}, Case{9, 500, 800, DType::f32, kRows, kColumns},
          Case{200, 130, 130, DType::f32, kStepped, kStepped}}) {
      Case with = t;
      with.dtype = dtype;
      CAPTURE(t.m, t.n, t.k, weft::name(dtype));
      REQUIRE(error_of(with) <= tolerance(dtype));
    }
  }
}

TEST_CASE("gemm: integers wrap") {
  for (DType dtype : {DType::i8, DType::u8, DType::i16, DType::i32, DType::i64}) {
    REQUIRE(error_of({17, 19, 33, dtype}) == 0);
    REQUIRE(error_of({17, 19, 33, dtype, kColumns, kStepped, 3, 2, true}) == 0);
    REQUIRE(error_of({1, 19, 33, dtype, kRows, kColumns, 3, 0}) == 0);
  }
}

TEST_CASE("gemm: no products, no elements") {
  for (DType dtype : kFloats) {
    for (int64_t m : {1, 3}) {
      REQUIRE(error_of({m, 5, 0, dtype}) == 0);
      REQUIRE(error_of({m, 5, 0, dtype, kRows, kRows, 1, 2, true}) == 0);
    }
    REQUIRE(error_of({0, 5, 3, dtype}) == 0);
    REQUIRE(error_of({5, 0, 3, dtype}) == 0);
  }
}

TEST_CASE("gemm: the same bits for any number of threads") {
  for (DType dtype : kFloats) {
    for (const Case& t : {Case{130, 200, 410}, Case{33, 40, 9001, DType::f32, kColumns, kRows}, Case{1, 3000, 700},
                          Case{3000, 1, 700}, Case{24, 900, 300, DType::f32, kRows, kColumns}}) {
      Case with = t;
      with.dtype = dtype;
      std::vector<char> one, other;
      {
        Threads guard(1);
        error_of(with, &one);
      }
      for (int threads : {2, 3, 5}) {
        Threads guard(threads);
        error_of(with, &other);
        CAPTURE(t.m, t.n, t.k, weft::name(dtype), threads);
        REQUIRE(one == other);
      }
    }
  }
}

TEST_CASE("gemm_batched equals single products, and shares operands with stride 0") {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  for (int64_t size : {5, 40, 90}) {
    const int64_t batch = 7, m = size, n = size + 3, k = size + 1;
    std::vector<float> a(batch * m * k), b(batch * k * n), c(batch * m * n), want(m * n);
    for (float& x : a) x = normal(random);
    for (float& x : b) x = normal(random);
    for (int64_t b_bs : {k * n, int64_t{0}}) {
      Gemm g;
      g.m = m, g.n = n, g.k = k, g.a_rs = k, g.a_cs = 1, g.b_rs = n, g.b_cs = 1, g.ldc = n;
      g.a = a.data(), g.b = b.data(), g.c = c.data();
      weft::kernels::gemm_batched(g, batch, m * k, b_bs, m * n);
      for (int64_t i = 0; i < batch; ++i) {
        Gemm one = g;
        one.a = a.data() + i * m * k, one.b = b.data() + i * b_bs, one.c = want.data();
        weft::kernels::gemm(one);
        REQUIRE(std::memcmp(want.data(), c.data() + i * m * n, m * n * sizeof(float)) == 0);
      }
    }
  }
}
