// The words of weft::math against the C library in long double: rounding errors and special values.
#include "core/ops/math.h"

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <string>

#include "tests/catch.h"

namespace math = weft::math;

namespace {

template <class T>
constexpr T kInf = std::numeric_limits<T>::infinity();
template <class T>
constexpr T kNan = std::numeric_limits<T>::quiet_NaN();

// |got - want| in units of the last place of the type T at want; 0 when both are NaN or the same infinity.
template <class T>
double ulps(T got, long double want) {
  T rounded = static_cast<T>(want);
  if (std::isnan(got) || std::isnan(rounded)) return std::isnan(got) && std::isnan(rounded) ? 0 : 1e30;
  if (got == rounded) return 0;
  if (std::isinf(got) || std::isinf(rounded)) {
    long double largest = std::numeric_limits<T>::max();
    // An overflow one ulp too early or late is an error of one ulp.
    return std::abs(std::isinf(got) ? want : static_cast<long double>(got)) >=
                   largest * (1 - 4 * std::numeric_limits<T>::epsilon())
               ? 1
               : 1e30;
  }
  int exponent;
  std::frexp(rounded, &exponent);
  exponent = std::max(exponent - std::numeric_limits<T>::digits,
                      std::numeric_limits<T>::min_exponent - std::numeric_limits<T>::digits);
  return static_cast<double>(std::abs(static_cast<long double>(got) - want) / std::ldexp(1.0L, exponent));
}

// Half the samples uniform in [low, high], half uniform in the logarithm of their size (denormals included).
template <class T>
class Samples {
 public:
  Samples(double low, double high) : low_(low), high_(high) {}
  T next() {
    for (;;) {
      T x;
      if (random_() & 1) {
        x = static_cast<T>(low_ + (high_ - low_) * std::uniform_real_distribution<double>(0, 1)(random_));
      } else {
        int e = std::uniform_int_distribution<int>(std::numeric_limits<T>::min_exponent - 24,
                                                   std::numeric_limits<T>::max_exponent)(random_);
        x = static_cast<T>(std::ldexp(static_cast<T>(std::uniform_real_distribution<double>(0.5, 1)(random_)), e));
        if (random_() & 1) x = -x;
      }
      if (x >= low_ && x <= high_) return x;
    }
  }

 private:
  std::mt19937_64 random_{20240607};
  double low_, high_;
};

constexpr int kSamples = 60000;

template <class T>
void check_word(const std::string& name, T (*word)(T), long double (*exact)(long double), double low, double high,
                double bound) {
  Samples<T> samples(low, high);
  double worst = 0;
  T at = 0;
  for (int i = 0; i < kSamples; ++i) {
    T x = samples.next();
    double error = ulps(word(x), exact(x));
    if (error > worst) worst = error, at = x;
  }
  INFO(name << (sizeof(T) == 4 ? " float" : " double") << ": " << worst << " ulp at " << at);
  CHECK(worst <= bound);
  if (std::getenv("WEFT_PRINT_ULPS"))
    std::printf("%s %s %.3f at %.17g\n", name.c_str(), sizeof(T) == 4 ? "float" : "double", worst, double(at));
  // NaN in, NaN out.
  CHECK(std::isnan(word(kNan<T>)));
}

long double sigmoid(long double x) { return 1 / (1 + std::exp(-x)); }
long double sigmoid2(long double x) { return 1 / (1 + std::exp2(-x)); }

}  // namespace

#define CHECK_WORD(word, low, high, bound_float, bound_double)               \
  check_word<float>(#word, &math::word, &std::word, low, high, bound_float); \
  check_word<double>(#word, &math::word, &std::word, low, high, bound_double)

TEST_CASE("math words round within their bounds") {
  CHECK_WORD(exp, -800, 800, 1.5, 1.5);
  CHECK_WORD(exp2, -1100, 1100, 1.5, 1.5);
  CHECK_WORD(expm1, -50, 800, 2.0, 2.0);
  CHECK_WORD(log, 0, 1e300, 1.5, 1.5);
  CHECK_WORD(log, 0.5, 2, 1.5, 1.5);
  CHECK_WORD(log2, 0, 1e300, 2.0, 2.0);
  CHECK_WORD(log2, 0.5, 2, 2.0, 2.0);
  CHECK_WORD(log10, 0, 1e300, 2.0, 2.0);
  CHECK_WORD(log10, 0.5, 2, 2.0, 2.0);
  CHECK_WORD(log1p, -1, 1e300, 2.0, 2.0);
  CHECK_WORD(log1p, -1, 2, 2.0, 2.0);
  CHECK_WORD(sqrt, 0, 1e300, 0.5, 0.5);
  CHECK_WORD(sin, -10, 10, 1.5, 1.5);
  CHECK_WORD(cos, -10, 10, 1.5, 1.5);
  CHECK_WORD(tan, -10, 10, 1.0, 2.5);
  CHECK_WORD(sin, -1e9, 1e9, 1.5, 1.5);
  CHECK_WORD(cos, -1e9, 1e9, 1.5, 1.5);
  CHECK_WORD(tan, -1e9, 1e9, 1.0, 2.5);
  CHECK_WORD(sin, -1e31, 1e31, 1.5, 1.5);
  CHECK_WORD(cos, -1e31, 1e31, 1.5, 1.5);
  check_word<float>("cos", &math::cos, &std::cos, -3.4e38, 3.4e38, 1.5);
  CHECK_WORD(asin, -1, 1, 2.5, 2.5);
  CHECK_WORD(acos, -1, 1, 2.0, 2.0);
  CHECK_WORD(atan, -1e300, 1e300, 2.0, 2.0);
  CHECK_WORD(atan, -10, 10, 2.0, 2.0);
  CHECK_WORD(sinh, -720, 720, 1.0, 2.5);
  CHECK_WORD(sinh, -5, 5, 1.0, 2.5);
  CHECK_WORD(cosh, -720, 720, 1.0, 2.5);
  CHECK_WORD(cosh, -5, 5, 1.0, 2.5);
  CHECK_WORD(tanh, -800, 800, 2.6, 2.6);
  CHECK_WORD(tanh, -8, 8, 2.6, 2.6);
  // Below, e itself is no normal number any more.
  check_word<float>("sigmoid", &math::sigmoid, &sigmoid, -87, 1e30, 2.6);
  check_word<float>("sigmoid", &math::sigmoid, &sigmoid, -5, 5, 2.6);
  check_word<double>("sigmoid", &math::sigmoid, &sigmoid, -708, 1e300, 2.6);
  check_word<double>("sigmoid", &math::sigmoid, &sigmoid, -5, 5, 2.6);
  check_word<float>("sigmoid2", &math::sigmoid2, &sigmoid2, -125, 1e30, 2.6);
  check_word<float>("sigmoid2", &math::sigmoid2, &sigmoid2, -5, 5, 2.6);
  check_word<double>("sigmoid2", &math::sigmoid2, &sigmoid2, -1021, 1e300, 2.6);
  check_word<double>("sigmoid2", &math::sigmoid2, &sigmoid2, -5, 5, 2.6);
  CHECK_WORD(asinh, -1e300, 1e300, 1.0, 3.0);
  CHECK_WORD(asinh, -5, 5, 1.0, 3.0);
  CHECK_WORD(acosh, 1, 1e300, 1.0, 3.0);
  CHECK_WORD(acosh, 1, 5, 1.0, 3.0);
  CHECK_WORD(atanh, -1, 1, 1.0, 3.0);
  CHECK_WORD(erf, -10, 10, 3.0, 2.0);
  CHECK_WORD(erf, -2, 2, 3.0, 2.0);
  CHECK_WORD(erfc, -28, 28, 1.0, 4.0);
  CHECK_WORD(erfc, -2, 2, 1.0, 4.0);
}

namespace {

// Special arguments: C's Annex F is what the C library does.
template <class T>
const T kSpecial[] = {T(0),
                      T(-0.0),
                      T(1),
                      T(-1),
                      T(0.5),
                      T(-0.5),
                      T(2),
                      T(-2),
                      T(3),
                      T(-3),
                      T(2.5),
                      T(-2.5),
                      kInf<T>,
                      -kInf<T>,
                      kNan<T>,
                      std::numeric_limits<T>::denorm_min(),
                      -std::numeric_limits<T>::denorm_min(),
                      std::numeric_limits<T>::min(),
                      std::numeric_limits<T>::min() / 4,
                      std::numeric_limits<T>::max(),
                      std::numeric_limits<T>::lowest(),
                      T(1e-20),
                      T(-1e-20),
                      T(1e20),
                      T(-1e20),
                      T(1000001),
                      T(16777216)};

template <class T>
void check_same(const std::string& what, T got, T want) {
  INFO(what << ": " << got << ", expected " << want);
  if (std::isnan(want) || std::isinf(want) || want == 0) {
    bool same = std::isnan(want) ? std::isnan(got) : got == want && std::signbit(got) == std::signbit(want);
    CHECK(same);
  } else {
    CHECK(ulps<T>(got, want) <= 5);
  }
}

template <class T>
void check_special(const std::string& name, T (*word)(T), T (*exact)(T), T limit = kInf<T>) {
  for (T x : kSpecial<T>)
    if (!(std::abs(x) > limit) || std::isinf(x)) check_same(name + "(" + std::to_string(x) + ")", word(x), exact(x));
}
template <class T>
void check_special(const std::string& name, T (*word)(T, T), T (*exact)(T, T)) {
  for (T x : kSpecial<T>)
    for (T y : kSpecial<T>)
      check_same(name + "(" + std::to_string(x) + ", " + std::to_string(y) + ")", word(x, y), exact(x, y));
}

}  // namespace

#define CHECK_SPECIAL(word, ...)                                                   \
  check_special<float>(#word, &math::word, &std::word __VA_OPT__(, ) __VA_ARGS__); \
  check_special<double>(#word, &math::word, &std::word __VA_OPT__(, ) __VA_ARGS__)

TEST_CASE("math words at zeros, infinities, NaN, denormals and the ends of the range") {
  CHECK_SPECIAL(exp);
  for (auto word : {static_cast<float (*)(float)>(&math::sigmoid), static_cast<float (*)(float)>(&math::sigmoid2)}) {
    CHECK(word(kInf<float>) == 1);
    CHECK(word(1e20f) == 1);
    CHECK(word(0.0f) == 0.5f);
    CHECK(word(-0.0f) == 0.5f);
    CHECK(word(-1000.0f) == 0);
    CHECK(word(-kInf<float>) == 0);
    CHECK_FALSE(std::signbit(word(-kInf<float>)));
    CHECK(std::isnan(word(kNan<float>)));
  }
  CHECK(math::sigmoid(-kInf<double>) == 0);
  CHECK(math::sigmoid2(-kInf<double>) == 0);
  CHECK_SPECIAL(exp2);
  CHECK_SPECIAL(expm1);
  CHECK_SPECIAL(log);
  CHECK_SPECIAL(log2);
  CHECK_SPECIAL(log10);
  CHECK_SPECIAL(log1p);
  CHECK_SPECIAL(sqrt);
  CHECK_SPECIAL(sin, 1e31);
  CHECK_SPECIAL(cos, 1e31);
  CHECK_SPECIAL(tan, 1e31);
  CHECK_SPECIAL(asin);
  CHECK_SPECIAL(acos);
  CHECK_SPECIAL(atan);
  CHECK_SPECIAL(sinh);
  CHECK_SPECIAL(cosh);
  CHECK_SPECIAL(tanh);
  CHECK_SPECIAL(asinh);
  CHECK_SPECIAL(acosh);
  CHECK_SPECIAL(atanh);
  CHECK_SPECIAL(erf);
  CHECK_SPECIAL(erfc);
  CHECK_SPECIAL(floor);
  CHECK_SPECIAL(ceil);
  CHECK_SPECIAL(trunc);
  CHECK_SPECIAL(atan2);
  CHECK_SPECIAL(pow);
  CHECK_SPECIAL(hypot);
  check_special<float>("round", &math::round, &std::nearbyint);
  check_special<double>("round", &math::round, &std::nearbyint);
}

TEST_CASE("double angles beyond 1e31 count as 0, infinite ones give NaN") {
  for (double x : {1.1e31, 1e100, 1.7e308, -3e200}) {
    CHECK(math::sin(x) == 0);
    CHECK(math::cos(x) == 1);
    CHECK(math::tan(x) == 0);
  }
  CHECK(std::isnan(math::cos(kInf<double>)));
}

TEST_CASE("float angles next to a multiple of pi / 2") {
  // 16367173 * 2^72 is the float nearest to a multiple of pi / 2: cos is 1.6e-9.
  for (float x :
       {std::ldexp(16367173.0f, 72), std::ldexp(16367173.0f, 73), 6381956970095103.0f, 1.57079637f, 3.14159274f}) {
    CHECK(ulps<float>(math::cos(x), std::cos(static_cast<long double>(x))) <= 1.5);
    CHECK(ulps<float>(math::sin(x), std::sin(static_cast<long double>(x))) <= 1.5);
  }
}

TEST_CASE("pow and atan2 round within their bounds") {
  Samples<double> wide(1e-300, 1e300), small(0.3, 3), exponent(-30, 30);
  double worst_power = 0, worst_float = 0, worst_angle = 0, worst_angle_float = 0;
  for (int i = 0; i < 4 * kSamples; ++i) {
    double x = i & 1 ? wide.next() : small.next();
    double y = i & 2 ? exponent.next() : 700 / std::log(x) * (i % 101 - 50) / 50;
    worst_power = std::max(
        worst_power, ulps<double>(math::pow(x, y), std::pow(static_cast<long double>(x), static_cast<long double>(y))));
    float a = static_cast<float>(x), b = static_cast<float>(y);
    worst_float = std::max(
        worst_float, ulps<float>(math::pow(a, b), std::pow(static_cast<long double>(a), static_cast<long double>(b))));
    double z = exponent.next(), w = exponent.next();
    worst_angle =
        std::max(worst_angle,
                 ulps<double>(math::atan2(z, w), std::atan2(static_cast<long double>(z), static_cast<long double>(w))));
    float c = static_cast<float>(z), d = static_cast<float>(w);
    worst_angle_float =
        std::max(worst_angle_float,
                 ulps<float>(math::atan2(c, d), std::atan2(static_cast<long double>(c), static_cast<long double>(d))));
  }
  CAPTURE(worst_power, worst_float, worst_angle, worst_angle_float);
  if (std::getenv("WEFT_PRINT_ULPS"))
    std::printf("pow %.3f %.3f atan2 %.3f %.3f\n", worst_power, worst_float, worst_angle, worst_angle_float);
  CHECK(worst_power <= 1.5);
  CHECK(worst_float <= 1);
  CHECK(worst_angle <= 2);
  CHECK(worst_angle_float <= 2.5);
}

TEST_CASE("remainders and quotients of floats") {
  Samples<double> values(-1e6, 1e6);
  for (int i = 0; i < kSamples; ++i) {
    double x = values.next(), y = values.next();
    if (std::abs(x / y) < 1e30) CHECK(math::fmod(x, y) == std::fmod(x, y));
    float a = static_cast<float>(x), b = static_cast<float>(y);
    if (b != 0 && std::abs(a / b) < 1e15f) CHECK(math::fmod(a, b) == std::fmod(a, b));
    double r = math::remainder(x, y);
    if (std::abs(x / y) < 1e15) {
      CHECK((r == 0 || (r < 0) == (y < 0)));
      CHECK(std::abs(r) <= std::abs(y));
    }
  }
  CHECK(math::remainder(-7.0, 3.0) == 2.0);
  CHECK(math::remainder(7.0, -3.0) == -2.0);
  CHECK(math::fmod(-7.0, 3.0) == -1.0);
  CHECK(math::floor_div(-7.0, 3.0) == -3.0);
  CHECK(math::floor_div(1.0, 0.1) == 9.0);
  CHECK(math::floor_div(1.0f, 0.0f) == kInf<float>);
  CHECK(std::isnan(math::fmod(1.0, 0.0)));
  CHECK(std::isnan(math::fmod(kInf<double>, 2.0)));
  CHECK(math::fmod(5.0, kInf<double>) == 5.0);
  CHECK(math::remainder(-1.0, kInf<double>) == kInf<double>);
  CHECK(std::signbit(math::fmod(-6.0f, 3.0f)));
}

TEST_CASE("integer words") {
  using math::i64;
  const i64 least = std::numeric_limits<i64>::min();
  CHECK(math::floor_div(i64(-7), i64(2)) == -4);
  CHECK(math::trunc_div(i64(-7), i64(2)) == -3);
  CHECK(math::remainder(i64(-7), i64(2)) == 1);
  CHECK(math::remainder(i64(7), i64(-2)) == -1);
  CHECK(math::fmod(i64(-7), i64(2)) == -1);
  CHECK(math::floor_div(least, i64(-1)) == least);
  CHECK(math::fmod(least, i64(-1)) == 0);
  CHECK(math::floor_div(i64(5), i64(0)) == 0);
  CHECK(math::pow(i64(-3), i64(5)) == -243);
  CHECK(math::pow(i64(2), i64(64)) == 0);
  CHECK(math::pow(i64(-1), i64(-3)) == -1);
  CHECK(math::pow(i64(7), i64(-1)) == 0);
  CHECK(math::pow(i64(0), i64(0)) == 1);
  CHECK(math::shift_left(i64(3), i64(2)) == 12);
  CHECK(math::shift_left(i64(3), i64(64)) == 0);
  CHECK(math::shift_left(i64(3), i64(-1)) == 0);
  CHECK(math::shift_right(i64(-5), i64(1)) == -3);
  CHECK(math::shift_right(i64(-5), i64(70)) == -1);
  CHECK(math::gcd(i64(-12), i64(18)) == 6);
  CHECK(math::gcd(i64(0), i64(0)) == 0);
}

TEST_CASE("bounds keep or drop NaN as their names say") {
  CHECK(std::isnan(math::max(kNan<double>, 1.0)));
  CHECK(std::isnan(math::max(1.0, kNan<double>)));
  CHECK(std::isnan(math::min(1.0f, kNan<float>)));
  CHECK(math::fmax(kNan<double>, 1.0) == 1.0);
  CHECK(math::fmin(1.0f, kNan<float>) == 1.0f);
  CHECK(std::isnan(math::clamp(kNan<double>, 0.0, 1.0)));
  CHECK(math::clamp(5.0, 3.0, 1.0) == 1.0);
  CHECK(math::sign(kNan<double>) == 0.0);
  CHECK(math::logaddexp(kInf<double>, kInf<double>) == kInf<double>);
  CHECK(math::logaddexp(-kInf<double>, -kInf<double>) == -kInf<double>);
  CHECK(math::xlogy(0.0, 0.0) == 0.0);
  CHECK(std::isnan(math::xlogy(0.0, kNan<double>)));
}
