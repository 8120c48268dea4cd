#pragma once

#include "core/ops/cast.h"
#include "core/ops/math.h"

// What every pointwise record is built from. Std-free: the same text goes to the CPU loops, nvcc, NVRTC, generated code
// and the Tensor carrier of double backward.
//
// A record is one struct with
//   static constexpr Dtypes dtypes;                     how inputs are promoted and what the result is
//   static constexpr unsigned needs[arity];             what the gradient of input i reads besides g: kA | kB | kC | kY
//   template <class T> static T forward(T a, ..., T param...);
//   template <class T> static T backward(T g, T a, T y, T param...);                arity 1
//   template <class T> static T backward_a(T g, T a, T b, T y, T param...);         arity 2 (also _b), 3 (also _b, _c)
// Computation runs in float (also for bf16, f16), double or int64 (every integer dtype and bool; forward only). Records
// of floating dtypes never see int64, those of integer dtypes see nothing else, and a floating result is never bool.
// Arguments not named in `needs` arrive with unspecified values. Bodies hold operators, the words of weft::math and
// where(condition, a, b) only: no if, ?:, && or ||, since comparisons of Tensors are Tensors.
namespace weft::ops {

// The words, found unqualified by the records; the overloads of a Tensor carrier join by argument-dependent lookup.
using namespace weft::math;

// How the dtypes of the inputs become the dtype the record computes in, and that of its result.
enum class Dtypes {
  floating,       // promoted; integers and bool become the default float dtype
  same_float,     // promoted; an error unless the promoted dtype is floating
  numeric,        // promoted; an error when the promoted dtype is bool
  no_bool,        // promoted; an error when any input is bool
  any,            // promoted; every dtype (bool: non-zero results are true)
  counting,       // promoted; bool counts as int64
  integral,       // promoted; integers and bool only
  integer,        // promoted; integers only
  compare,        // promoted for the computation; the result is bool
  float_compare,  // as floating for the computation; the result is bool
  logical,        // any mix of dtypes, each input only asked whether it is non-zero; the result is bool
};

// The values a gradient may read besides g.
inline constexpr unsigned kA = 1, kB = 2, kC = 4, kY = 8;

// Base of the records: `Arity` tensor inputs followed by `Params` scalar parameters.
template <int Arity, int Params = 0>
struct Pointwise {
  static constexpr int arity = Arity;
  static constexpr int params = Params;
  static constexpr bool differentiable = true;        // false: no backward functions exist
  static constexpr unsigned needs[Arity] = {};        // default: every gradient is a function of g alone
  static constexpr unsigned promotes = kA | kB | kC;  // inputs that take part in type promotion
  static constexpr unsigned constants = 0;            // inputs that never have a gradient (conditions)
  static constexpr unsigned passes = 0;               // inputs whose gradient is g itself
  static constexpr unsigned scales = 0;               // inputs whose gradient is g times the first parameter
  static constexpr bool divides = false;              // true: an integer second input holding 0 is an error
  static constexpr Cast cast = Cast::none;            // what Autocast does with the inputs
};

// In which types loops of a record exist, and whether they write bool.
template <class R>
inline constexpr bool computes_floats =
    R::dtypes != Dtypes::integral&& R::dtypes != Dtypes::integer&& R::dtypes != Dtypes::logical;
template <class R>
inline constexpr bool computes_integers =
    R::dtypes != Dtypes::floating&& R::dtypes != Dtypes::same_float&& R::dtypes != Dtypes::float_compare;
template <class R>
inline constexpr bool gives_bool =
    R::dtypes == Dtypes::compare || R::dtypes == Dtypes::float_compare || R::dtypes == Dtypes::logical;

}  // namespace weft::ops
