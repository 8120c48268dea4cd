#pragma once
#include <string_view>
#include <utility>

#include "autograd/carrier.h"
#include "core/custom_source.h"
#include "core/registry.h"

// A user's own op in a user's own file. At global scope, once:
//
//   WEFT_REGISTER_OP(Snake, snake,
//   struct Snake : Pointwise<1, 1> {                                              // one tensor, one scalar parameter
//     static constexpr const char* schema = "input, alpha=1.0";                   // optional: how it is called by name
//     static constexpr Dtypes dtypes = Dtypes::floating;
//     static constexpr unsigned needs[1] = {kA};
//     template <class T> static T forward(T x, T alpha) { return x + sin(alpha * x) * sin(alpha * x) / alpha; }
//     template <class T> static T backward(T g, T x, T, T alpha) { return g * (T(1) + T(2) * sin(alpha * x) * cos(alpha
//     * x)); }
//   });
//
// Then snake(x, 0.5), snake.inplace(x, 0.5), snake.out(y, x, 0.5) and call("snake", {x, 0.5}) work on any dtype and
// layout, with gradients of every order. The rules of records: core/ops/record.h. Compile with -O3 -march=native
// -fno-math-errno -fno-trapping-math -ffp-contract=off for the speed and the bits of the built-in ops.
//
// On a device the text between the parentheses is compiled when the op first meets a dtype there (NVRTC), so it must
// stand alone: its own names and those of weft::ops (the words of core/ops/math.h), no macro or function of the file
// around it. What was compiled is kept in the folder WEFT_CACHE_DIR (default ~/.cache/weft; empty: nowhere).
//
// An op that is no function of single elements: an OpRecord with a kernel and a gradient rule of your own, and
// dispatch() (core/dispatch.h); or a Function (autograd/function.h) made of existing ops.
namespace weft {

namespace detail {

/// Adds an op to the registry; an Error when the name is taken.
bool register_custom_op(const CustomOpSource& source, const OpSchema& schema);

template <class R>
struct CustomName;

template <class R>
inline constexpr PointwiseInfo kCustomInfo = make_pointwise_info<R>(CustomName<R>::kName);

template <class R>
constexpr std::string_view custom_schema() {
  if constexpr (requires { R::schema; }) return R::schema;
  constexpr std::string_view all[3][kMaxParams + 1] = {
      {"input", "input, p", "input, p, q", "input, p, q, r", "input, p, q, r, s"},
      {"input, other", "input, other, p", "input, other, p, q", "input, other, p, q, r", "input, other, p, q, r, s"},
      {"a, b, c", "a, b, c, p", "a, b, c, p, q", "a, b, c, p, q, r", "a, b, c, p, q, r, s"}};
  return all[R::arity - 1][R::params];
}

template <class R>
Value call_custom(const Args& args, bool inplace) {
  Tensor in[R::arity];
  Scalar params[R::params + 1];
  for (size_t i = 0; i < R::arity; ++i) in[i] = i == 0 ? args.tensor(i) : args.operand(i);
  for (size_t i = 0; i < R::params; ++i) params[i] = args.scalar(R::arity + i);
  return inplace ? pointwise_(kCustomInfo<R>, in[0], in + 1, params) : pointwise(kCustomInfo<R>, in, params);
}

inline Tensor operand(const Tensor& t) { return t; }
inline Tensor operand(Scalar s) { return Tensor::wrap(s); }

}  // namespace detail

/// What WEFT_REGISTER_OP defines: a callable with `arity` tensors (numbers too, after the first) and `params` numbers.
template <class R>
struct CustomOp {
  template <class... A>
  Tensor operator()(const A&... args) const {
    return split<0>([](Tensor* in, const Scalar* params) { return pointwise(detail::kCustomInfo<R>, in, params); },
                    args...);
  }
  /// The result goes into the first tensor.
  template <class... A>
  Tensor inplace(const A&... args) const {
    return split<0>(
        [](Tensor* in, const Scalar* params) { return pointwise_(detail::kCustomInfo<R>, in[0], in + 1, params); },
        args...);
  }
  /// The result goes into `to`; no autograd.
  template <class... A>
  Tensor out(Tensor& to, const A&... args) const {
    return split<0>(
        [&](Tensor* in, const Scalar* params) { return pointwise_out(detail::kCustomInfo<R>, to, in, params); },
        args...);
  }

 private:
  template <int, class F, class... A>
  static Tensor split(F&& run, const A&... args) {
    static_assert(sizeof...(A) == R::arity + R::params, "the arguments are the record's tensors, then its parameters");
    Tensor in[R::arity];
    Scalar params[R::params + 1];
    size_t at = 0;
    (place(in, params, at++, args), ...);
    return run(in, params);
  }
  template <class A>
  static void place(Tensor* in, Scalar* params, size_t at, const A& a) {
    if (at < R::arity) {
      in[at] = detail::operand(a);
    } else {
      if constexpr (std::is_same_v<A, Tensor>)
        params[at - R::arity] = a.item();
      else
        params[at - R::arity] = Scalar(a);
    }
  }
};

}  // namespace weft

// The text is kept; the name is bound while the user's own file starts up, which no linker can drop.
#define WEFT_REGISTER_OP(Record, function, ...)                                                                  \
  namespace weft::ops::custom {                                                                                  \
  __VA_ARGS__;                                                                                                   \
  }                                                                                                              \
  template <>                                                                                                    \
  struct weft::detail::CustomName<weft::ops::custom::Record> {                                                   \
    static constexpr const char* kName = #function;                                                              \
  };                                                                                                             \
  inline constexpr weft::CustomOp<weft::ops::custom::Record> function{};                                         \
  [[maybe_unused]] static const bool function##_registered = weft::detail::register_custom_op(                   \
      {&weft::detail::kCustomInfo<weft::ops::custom::Record>, #Record, #__VA_ARGS__ ";"},                        \
      {#function, weft::detail::custom_schema<weft::ops::custom::Record>(),                                      \
       [](const weft::Args& args) { return weft::detail::call_custom<weft::ops::custom::Record>(args, false); }, \
       [](const weft::Args& args) { return weft::detail::call_custom<weft::ops::custom::Record>(args, true); }})
