#include "core/ops/embedding.h"

#include "core/ops/index.h"

namespace weft::cpu {

void embedding(const OpCall& c) {
  const IndexOp::Attrs rows{c.as<EmbeddingOp::Attrs>().weight_sizes, 0, 1};
  index({c.op, c.in, c.n_in, c.out, c.n_out, &rows});
}

}  // namespace weft::cpu
