#include "core/error.h"

#include <cstdio>

#include "core/tensor.h"

namespace weft::detail {
namespace {

void append(std::string& out, const Dims& d) {
  out += '[';
  for (int i = 0; i < d.size(); ++i) {
    if (i) out += ", ";
    out += std::to_string(d[i]);
  }
  out += ']';
}

void append(std::string& out, const ErrorArg& a) {
  switch (a.kind) {
    case ErrorArg::Kind::integer:
      out += std::to_string(a.i);
      break;
    case ErrorArg::Kind::real: {
      char text[32];
      std::snprintf(text, sizeof text, "%g", a.d);
      out += text;
      break;
    }
    case ErrorArg::Kind::text:
      out += a.text;
      break;
    case ErrorArg::Kind::dims:
      append(out, *a.dims);
      break;
    case ErrorArg::Kind::dtype:
      out += name(a.dtype);
      break;
    case ErrorArg::Kind::device:
      out += a.device.str();
      break;
    case ErrorArg::Kind::tensor:
      if (!a.tensor->defined()) {
        out += "an undefined tensor";
        break;
      }
      append(out, a.tensor->sizes());
      out += ' ';
      out += name(a.tensor->dtype());
      out += ' ';
      out += a.tensor->device().str();
      break;
  }
}

}  // namespace

std::string format(std::string_view text, std::initializer_list<ErrorArg> args) {
  std::string out;
  auto arg = args.begin();
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '{' && i + 1 < text.size() && text[i + 1] == '}' && arg != args.end()) {
      append(out, *arg++);
      ++i;
    } else {
      out += text[i];
    }
  }
  return out;
}

void fail(Fault fault, std::string_view text, std::initializer_list<ErrorArg> args) {
  std::string what = format(text, args);
  switch (fault) {
    case Fault::index:
      throw IndexError(what);
    case Fault::type:
      throw TypeError(what);
    case Fault::compile:
      throw CompileError(what);
    case Fault::file:
      throw FileError(what);
    case Fault::internal:
      throw InternalError("internal error: " + what + "; please report it");
    case Fault::user:
      break;
  }
  throw Error(what);
}

void fail_too_many_dims(size_t n) {
  fail_with(Fault::user, "tensor: {} dimensions; at most {} are supported", n, kMaxDims);
}

}  // namespace weft::detail
