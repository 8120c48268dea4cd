// Every pointwise record, forward and gradients: its text compiled at run time gives the bits of the library's loops.
#include <cstdio>

#include "core/pointwise.h"
#include "tests/catch.h"
#include "tests/slice/library.h"
#include "tests/slice/texts.h"
#include "tests/slice/values.h"

namespace {

using namespace weft;

struct Row {
  std::string record;
  const PointwiseInfo* info;
};
const std::vector<Row>& rows() {
  static const std::vector<Row> all = {
#define WEFT_POINTWISE(Record, name) {#Record, &pointwise_ops::name},
#define WEFT_UNARY WEFT_POINTWISE
#define WEFT_BINARY WEFT_POINTWISE
#define WEFT_TERNARY WEFT_POINTWISE
#include "core/ops/pointwise.def"
#undef WEFT_POINTWISE
#undef WEFT_UNARY
#undef WEFT_BINARY
#undef WEFT_TERNARY
  };
  return all;
}

constexpr const char* kParts[] = {"forward", "backward_a", "backward_b", "backward_c"};

// One function of a record: -1 is forward, i the gradient of input i.
struct Part {
  const Row* row;
  int which;
  const Loops& loops() const { return which < 0 ? row->info->forward : row->info->backward[which]; }
  int inputs() const { return which < 0 ? row->info->arity : row->info->arity + 2; }
  std::string function() const { return which == 0 && row->info->arity == 1 ? "backward" : kParts[which + 1]; }
  std::string symbol(const std::string& type) const { return row->record + "_" + function() + "_" + type; }
};
std::vector<Part> parts() {
  std::vector<Part> all;
  for (const Row& r : rows())
    for (int which = -1; which < (r.info->differentiable ? r.info->arity : 0); ++which) {
      Part p{&r, which};
      if (p.loops().f32) all.push_back(p);
    }
  return all;
}

std::string text_of(const Part& p, const std::string& type) {
  std::string text =
      "void " + p.symbol(type) + "(void* out, const " + type + "* const* x, const " + type + "* p, long n) {\n  " +
      (p.loops().writes_bool ? "unsigned char" : type) + "* y = (" + (p.loops().writes_bool ? "unsigned char" : type) +
      "*)out;\n  for (long i = 0; i < n; ++i) y[i] = weft::ops::" + p.row->record + "::" + p.function() + "(";
  for (int k = 0; k < p.inputs(); ++k) text += (k ? ", x[" : "x[") + std::to_string(k) + "][i]";
  for (int k = 0; k < p.row->info->params; ++k) text += ", p[" + std::to_string(k) + "]";
  return text + ");\n}\n";
}

template <class T>
size_t check_all(const std::string& type) {
  std::string text = slice::pasted({"core/ops/activation.h", "core/ops/arithmetic.h", "core/ops/compare.h",
                                    "core/ops/loss.h", "core/ops/rounding.h", "core/ops/transcendental.h"}) +
                     "#pragma GCC visibility push(default)\nextern \"C\" {\n";
  const std::vector<Part> all = parts();
  for (const Part& p : all) text += text_of(p, type);
  slice::Library library(text + "}\n", "-O1");
  constexpr size_t kCount = 20011;
  std::vector<std::vector<T>> inputs;
  std::vector<const void*> in;
  for (unsigned k = 0; k < 5; ++k) {
    inputs.push_back(slice::test_values<T>(kCount, k + 1, true));
    in.push_back(inputs.back().data());
  }
  const T params[kMaxParams] = {T(0.75), T(1.5), T(2), T(0.5)};
  Scalar scalars[kMaxParams];
  for (int k = 0; k < kMaxParams; ++k) scalars[k] = double(params[k]);
  for (const Part& p : all) {
    std::vector<T> expected(kCount, T(7)), got(kCount, T(7));  // results of comparisons fill the first bytes
    const LoopFn loop = std::is_same_v<T, float> ? p.loops().f32 : p.loops().f64;
    loop(expected.data(), in.data(), scalars, kCount);
    library.function<void(void*, const void* const*, const T*, long)>(p.symbol(type).c_str())(got.data(), in.data(),
                                                                                              params, kCount);
    INFO(p.symbol(type));
    if (p.loops().writes_bool)
      CHECK(std::memcmp(expected.data(), got.data(), kCount) == 0);
    else
      CHECK(slice::count_different(expected, got) == 0);
  }
  std::printf("%zu functions of records, %s: compiled in %.0f ms\n", all.size(), type.c_str(), library.compile_ms());
  return all.size();
}

TEST_CASE("every record has the same bits when it is compiled at run time") {
  CHECK(check_all<float>("float") > 150);
  CHECK(check_all<double>("double") > 150);
}

}  // namespace
