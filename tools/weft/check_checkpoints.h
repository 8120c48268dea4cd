#pragma once
#include <functional>
#include <string>
#include <vector>

namespace weft::tools {

struct CheckpointFailure {
  std::string id, what;
};
struct CheckpointResult {
  int passed = 0;
  std::vector<CheckpointFailure> failures;
};

/// Runs the cases of `folder`/checkpoints.json (conformance README, "checkpoints/"): files that must load exactly, and
/// files that must be refused, each within two seconds and 256 MB. `wanted` chooses by the case's id; all when empty.
/// weft::Error when the list itself cannot be read.
CheckpointResult check_checkpoints(const std::string& folder,
                                   const std::function<bool(const std::string& id)>& wanted = {});

}  // namespace weft::tools
