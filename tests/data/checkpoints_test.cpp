// Files made by PyTorch, safetensors and NumPy, good and bad: tests/golden/checkpoints.
#include "tests/catch.h"
#include "tools/weft/check_checkpoints.h"

TEST_CASE("checkpoints: files of others load exactly, bad ones are refused") {
  const auto result = weft::tools::check_checkpoints(WEFT_SOURCE_DIR "/tests/golden/checkpoints");
  for (const auto& failure : result.failures) FAIL_CHECK(failure.id << ": " << failure.what);
  CHECK(result.passed >= 130);
}
