#include "tools/weft/same_bits.h"

#include <cmath>
#include <cstring>

#include "core/error.h"
#include "core/thread_state.h"

namespace weft::tools {

std::string differ(const Tensor& got, const Tensor& eager) {
  if (got.dtype() != eager.dtype() || got.sizes() != eager.sizes()) return "another dtype or shape";
  if (got.device() != eager.device()) return "another device";
  NoGrad guard;
  const Tensor a = got.detach().cpu().contiguous(), b = eager.detach().cpu().contiguous();
  if (a.numel() == 0 || std::memcmp(a.data_ptr(), b.data_ptr(), a.nbytes()) == 0) return {};
  if (!is_floating(a.dtype())) return "other integers";
  const Tensor x = a.to(DType::f64), y = b.to(DType::f64);
  for (int64_t i = 0; i < x.numel(); ++i) {
    const double p = x.data<double>()[i], q = y.data<double>()[i];
    if (!(p == q && std::signbit(p) == std::signbit(q)) && !(std::isnan(p) && std::isnan(q)))
      return detail::format("[{}] is {}, eager {}", {i, p, q});
  }
  return {};
}

}  // namespace weft::tools
