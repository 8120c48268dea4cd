#include "core/ops/require.h"

namespace weft::cpu {

void require(const OpCall& c) {
  const auto& a = c.as<RequireOp::Attrs>();
  if (!*static_cast<const uint8_t*>(c.in[0].data_ptr())) [[unlikely]]
    detail::fail_with(a.fault, a.text, a.who, a.number);
}

}  // namespace weft::cpu
