#include "nn/layers/common.h"

#include <cmath>
#include <cstdio>

#include "core/error.h"
#include "nn/init.h"
#include "nn/layers/dropout.h"
#include "nn/layers/padding.h"

namespace weft::nn::detail {

void uniform_of_fan(Tensor& t, int64_t fan) {
  const double bound = fan > 0 ? 1 / std::sqrt(static_cast<double>(fan)) : 0;
  init::uniform_(t, -bound, bound);
}

void check_probability(double p) { WEFT_CHECK(p >= 0 && p <= 1, "dropout: p is {}; a probability lies in [0, 1]", p); }

std::vector<int64_t> pad_amounts(const char* name, const Extents& padding, int dims) {
  const int given = padding.values.size();
  WEFT_CHECK(given == 1 || given == 2 * dims, "{} padding: {} numbers; give 1 or {}", name, given, 2 * dims);
  if (given == 1) return std::vector<int64_t>(static_cast<size_t>(2 * dims), padding[0]);
  return padding.values.vec();
}

std::string short_number(double v) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", v);
  return text;
}

}  // namespace weft::nn::detail
