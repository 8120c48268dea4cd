#include "tools/weft/bench_cases.h"
#include "tools/weft/json_file.h"

namespace weft::bench {
namespace {

// "overhead": so small that the time is that of the call.
constexpr const char* kCases = R"([
  {"op": "matmul", "shapes": [[64, 64], [64, 64]]},
  {"op": "matmul", "shapes": [[512, 512], [512, 512]]},
  {"op": "matmul", "shapes": [[1024, 1024], [1024, 1024]]},
  {"op": "matmul", "shapes": [[768, 384], [384, 1536]]},
  {"op": "matmul", "shapes": [[512, 512], [512, 512]], "dtype": "bf16"},
  {"op": "matmul", "shapes": [[1024, 1024], [1024, 1024]], "dtype": "bf16"},
  {"op": "bmm", "shapes": [[48, 64, 32], [48, 32, 64]]},
  {"op": "linear_gelu", "shapes": [[768, 384], [1536, 384], [1536]], "grad": true},
  {"op": "add", "shapes": [[4194304], [4194304]]},
  {"op": "mul_bcast", "shapes": [[4096, 1024], [1024]]},
  {"op": "add_t", "shapes": [[2048, 2048], [2048, 2048]]},
  {"op": "exp", "shapes": [[4194304]]},
  {"op": "tanh", "shapes": [[4194304]]},
  {"op": "erf", "shapes": [[4194304]]},
  {"op": "gelu", "shapes": [[4194304]], "grad": true},
  {"op": "chain", "shapes": [[4194304], [4194304], [4194304]]},
  {"op": "copy_t", "shapes": [[2048, 2048]]},
  {"op": "cast_bf16", "shapes": [[4194304]]},
  {"op": "sum", "shapes": [[16777216]]},
  {"op": "sum_rows", "shapes": [[4096, 1024]]},
  {"op": "sum_cols", "shapes": [[4096, 1024]]},
  {"op": "argmax", "shapes": [[4096, 1024]]},
  {"op": "var", "shapes": [[4096, 1024]]},
  {"op": "cumsum", "shapes": [[4096, 1024]]},
  {"op": "sort", "shapes": [[1024, 1024]]},
  {"op": "topk", "shapes": [[1024, 4096]]},
  {"op": "softmax", "shapes": [[4096, 1024]], "grad": true},
  {"op": "cross_entropy", "shapes": [[2048, 4096]], "grad": true},
  {"op": "layer_norm", "shapes": [[4096, 1024], [1024], [1024]], "grad": true},
  {"op": "rms_norm", "shapes": [[4096, 1024], [1024]], "grad": true},
  {"op": "batch_norm", "shapes": [[32, 64, 32, 32], [64], [64]], "grad": true},
  {"op": "embedding", "shapes": [[8192, 384]], "index": 16384, "grad": true},
  {"op": "gather", "shapes": [[4096, 1024]]},
  {"op": "index_add", "shapes": [[8192, 384], [16384, 384]], "index": 16384},
  {"op": "sdpa_causal", "shapes": [[8, 6, 256, 64], [8, 6, 256, 64], [8, 6, 256, 64]], "grad": true},
  {"op": "sdpa_causal", "shapes": [[1, 12, 1024, 64], [1, 12, 1024, 64], [1, 12, 1024, 64]], "grad": true},
  {"op": "conv2d_3x3", "shapes": [[16, 64, 32, 32], [64, 64, 3, 3]], "grad": true},
  {"op": "conv2d_3x3", "shapes": [[64, 1, 28, 28], [32, 1, 3, 3]], "grad": true},
  {"op": "conv2d_1x1", "shapes": [[16, 256, 16, 16], [64, 256, 1, 1]], "grad": true},
  {"op": "max_pool2d", "shapes": [[64, 32, 28, 28]], "grad": true},
  {"op": "dropout", "shapes": [[4194304]]},
  {"op": "randn", "shapes": [[4194304]]},
  {"op": "lstm", "shapes": [[64, 32, 256]], "hidden": 256, "layers": 2, "grad": true},
  {"op": "adamw", "shapes": [[1048576], [262144], [1024]]},
  {"op": "add", "shapes": [[1], [1]], "overhead": true},
  {"op": "view", "shapes": [[4]], "overhead": true},
  {"op": "matmul", "shapes": [[8, 8], [8, 8]], "overhead": true},
  {"op": "mul_chain20", "shapes": [[4], [4]], "overhead": true, "grad": true}
])";

}  // namespace

nlohmann::json cases_of(const KernelOptions& o) {
  return o.cases.empty() ? nlohmann::json::parse(kCases) : tools::read_json<nlohmann::json>(o.cases);
}

}  // namespace weft::bench
