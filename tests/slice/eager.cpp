#include "tests/slice/eager.h"

#include <stdexcept>
#include <string>
#include <vector>

#include "tests/slice/program.h"

namespace weft::slice {

const PointwiseInfo& find_op(std::string_view record) {
#define WEFT_POINTWISE(Record, name) \
  if (record == #Record) return pointwise_ops::name;
#define WEFT_UNARY WEFT_POINTWISE
#define WEFT_BINARY WEFT_POINTWISE
#define WEFT_TERNARY WEFT_POINTWISE
#include "core/ops/pointwise.def"
#undef WEFT_POINTWISE
#undef WEFT_UNARY
#undef WEFT_BINARY
#undef WEFT_TERNARY
  throw std::runtime_error("no record " + std::string(record));
}

Tensor run_chain(const Tensor& x, const Tensor& w, double alpha) {
  const Scalar params[] = {alpha};
  std::vector<Tensor> values = {x, w};
  for (const Step& s : chain()) {
    std::vector<Tensor> in;
    for (int v : s.inputs) in.push_back(values[size_t(v)]);
    values.push_back(pointwise(find_op(s.record), in.data(), params));
  }
  return values.back();
}

}  // namespace weft::slice
