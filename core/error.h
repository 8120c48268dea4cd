#pragma once
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>

#include "core/device.h"
#include "core/dims.h"
#include "core/dtype.h"

namespace weft {

/// Base of everything weft throws. `what()` reads `op: rule broken; what was given; what to do`.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
/// An index or dimension out of range.
class IndexError : public Error {
 public:
  using Error::Error;
};
/// An argument of the wrong dtype or kind.
class TypeError : public Error {
 public:
  using Error::Error;
};
/// A file that is damaged, missing or cannot be written.
class FileError : public Error {
 public:
  using Error::Error;
};
/// A compiled function that would not be one graph, where that was asked for (compile/compile.h).
class CompileError : public Error {
 public:
  using Error::Error;
};
/// A broken promise of weft itself; please report it.
class InternalError : public Error {
 public:
  using Error::Error;
};

class Tensor;

namespace detail {

/// One argument of an error text; formatted only when the error happens.
struct ErrorArg {
  enum class Kind : uint8_t { integer, real, text, dims, dtype, device, tensor } kind;
  union {
    int64_t i;
    double d;
    const Dims* dims;
    const Tensor* tensor;
    DType dtype;
    Device device;
  };
  std::string_view text;

  template <std::integral T>
  ErrorArg(T v) : kind(Kind::integer), i(static_cast<int64_t>(v)) {}
  ErrorArg(double v) : kind(Kind::real), d(v) {}
  ErrorArg(std::string_view v) : kind(Kind::text), i(0), text(v) {}
  ErrorArg(const char* v) : kind(Kind::text), i(0), text(v) {}
  ErrorArg(const std::string& v) : kind(Kind::text), i(0), text(v) {}
  ErrorArg(const Dims& v) : kind(Kind::dims), dims(&v) {}
  ErrorArg(DType v) : kind(Kind::dtype), dtype(v) {}
  ErrorArg(Device v) : kind(Kind::device), device(v) {}
  ErrorArg(const Tensor& v) : kind(Kind::tensor), tensor(&v) {}  // "[2, 3] f32 cpu"
};

enum class Fault : uint8_t { user, index, type, file, compile, internal };
/// Replaces each `{}` of `text` by the next argument and throws the class of `fault`.
[[noreturn]] void fail(Fault fault, std::string_view text, std::initializer_list<ErrorArg> args);
template <class... A>
[[noreturn, gnu::noinline, gnu::cold]] void fail_with(Fault fault, std::string_view text, const A&... args) {
  fail(fault, text, {ErrorArg(args)...});
}
/// The text alone, e.g. for messages that are not errors.
std::string format(std::string_view text, std::initializer_list<ErrorArg> args);

}  // namespace detail
}  // namespace weft

// WEFT_CHECK(cond, "op: text {}", args...): the user's fault. _INDEX, _TYPE, _FILE throw the subclass. WEFT_ASSERT:
// ours.
#define WEFT_CHECK_AS(fault, cond, ...)                                     \
  do {                                                                      \
    if (!(cond)) [[unlikely]]                                               \
      ::weft::detail::fail_with(::weft::detail::Fault::fault, __VA_ARGS__); \
  } while (0)
#define WEFT_CHECK(cond, ...) WEFT_CHECK_AS(user, cond, __VA_ARGS__)
#define WEFT_CHECK_INDEX(cond, ...) WEFT_CHECK_AS(index, cond, __VA_ARGS__)
#define WEFT_CHECK_TYPE(cond, ...) WEFT_CHECK_AS(type, cond, __VA_ARGS__)
#define WEFT_CHECK_FILE(cond, ...) WEFT_CHECK_AS(file, cond, __VA_ARGS__)
#define WEFT_ASSERT(cond, ...) WEFT_CHECK_AS(internal, cond, __VA_ARGS__)
#define WEFT_FAIL(...) ::weft::detail::fail_with(::weft::detail::Fault::user, __VA_ARGS__)
