// Files that PyTorch 2.13 saved in the middle of training (tools/interop_check --golden makes them): weft goes on with
// the losses PyTorch had, and what it saves then has PyTorch's structure, name by name.
#include "tests/interop/interop.h"

#include <algorithm>
#include <filesystem>

#include "core/error.h"
#include "core/ops/reduce.h"
#include "data/serialize.h"
#include "tests/catch.h"
#include "tests/data/helpers.h"

using namespace weft;
using namespace weft::test;

namespace {

/// The kinds, names, dtypes and shapes of a value, without its numbers; of options PyTorch keeps the order and kind of
/// number in which the user wrote them.
std::string structure(const Value& v) {
  if (v.is_int() || v.is_double()) return "number";
  if (v.is_tensor()) return detail::format("{} {}", {v.as_tensor().sizes(), v.as_tensor().dtype()});
  std::string out(v.kind_name());
  if (v.is_list()) {
    for (const Value& item : v.as_list()) out += " " + structure(item);
    return "(" + out + ")";
  }
  if (!v.is_dict()) return out;
  std::vector<std::string> items;
  for (const auto& [key, item] : v.as_dict()) items.push_back(key.str() + "=" + structure(item));
  std::sort(items.begin(), items.end());
  for (const std::string& item : items) out += " " + item;
  return "{" + out + "}";
}

std::vector<std::string> golden_files() {
  std::vector<std::string> files;
  for (const auto& entry : std::filesystem::directory_iterator(WEFT_SOURCE_DIR "/tests/golden/interop"))
    files.push_back(entry.path().string());
  std::sort(files.begin(), files.end());
  return files;
}

void check_close(const Tensor& got, const Tensor& want, double rtol) {
  REQUIRE(got.numel() == want.numel());
  for (int64_t i = 0; i < got.numel(); ++i)
    CHECK(got.data<double>()[i] == Approx(want.data<double>()[i]).epsilon(rtol));
}

}  // namespace

TEST_CASE("interop: training that PyTorch began goes on with its losses") {
  const std::vector<std::string> files = golden_files();
  REQUIRE(files.size() == 9);  // mlp, cnn, gpt x SGD, Adam, AdamW
  const TemporaryFolder folder;
  for (const std::string& path : files) {
    INFO(path);
    const Value start = load(path);
    const Value result = interop::train(start);
    const double rtol = start["rtol"].as_double();
    check_close(result["losses"].as_tensor(), start["losses"].as_tensor(), rtol);
    for (const char* part : {"model_state_dict", "optimizer_state_dict"})
      CHECK(structure(result[part]) == structure(start[part]));

    // Through a file and on again, the last loss is that of an undisturbed run.
    const int64_t steps = start["x"].as_tensor().size(0);
    Value half = start;
    for (const char* part : {"x", "y"}) half.set(part, start[part].as_tensor().narrow(0, 0, steps / 2));
    save(folder.file("half.pt"), interop::train(half));
    const Value saved = load(folder.file("half.pt"));
    for (const char* part : {"model_state_dict", "optimizer_state_dict"}) half.set(part, saved[part]);
    for (const char* part : {"x", "y"}) half.set(part, start[part].as_tensor().narrow(0, steps / 2, steps - steps / 2));
    const Tensor rest = interop::train(half)["losses"].as_tensor();
    CHECK(same_bits(rest, result["losses"].as_tensor().narrow(0, steps / 2, steps - steps / 2)));
  }
}

TEST_CASE("interop: a state of other parameters is refused and changes nothing") {
  Value start = load(WEFT_SOURCE_DIR "/tests/golden/interop/mlp_AdamW.pt");
  Value groups = start["groups"];
  groups.mutable_at(0).mutable_list().pop_back();
  start.set("groups", groups);
  CHECK(error_of([&] { interop::train(start); }).find("parameters, the optimizer has") != std::string::npos);
}
