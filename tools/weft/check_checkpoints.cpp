#include "tools/weft/check_checkpoints.h"

#include <sys/resource.h>

#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/error.h"
#include "data/serialize.h"
#include "tools/weft/json_file.h"

namespace weft::tools {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kMaxSeconds = 2;
constexpr int64_t kMaxMegabytes = 256;

/// Compares a loaded value with what the list expects. The first difference is thrown as a weft::Error that begins with
/// its path.
class Comparison {
 public:
  Comparison(const StateDict& tensors, bool ordered) : tensors_(tensors), ordered_(ordered) {}

  void compare(const Value& got, const Json& want, const std::string& path) const {
    if (want.is_object()) return compare_object(got, want, path);
    if (want.is_array()) return compare_list(got, want, Value::ListKind::list, path);
    const bool same = want.is_null()             ? got.is_none()
                      : want.is_boolean()        ? got == Value(want.get<bool>())
                      : want.is_number_float()   ? got == Value(want.get<double>())
                      : want.is_number_integer() ? got == Value(want.get<int64_t>())
                                                 : got == Value(want.get<std::string>());
    if (!same) differ(path, got, want);
  }

 private:
  [[noreturn]] static void differ(const std::string& path, const Value& got, const Json& want) {
    throw Error(path + ": " + got.str(200) + " instead of " + want.dump().substr(0, 200));
  }

  void compare_object(const Value& got, const Json& want, const std::string& path) const {
    if (want.contains("tensor")) return compare_tensor(got, want, path);
    if (want.contains("tuple")) return compare_list(got, want["tuple"], Value::ListKind::tuple, path);
    if (want.contains("size")) return compare_list(got, want["size"], Value::ListKind::size, path);
    if (want.contains("dict")) {
      Json items = Json::array();
      for (const auto& [key, value] : want["dict"].items()) items.push_back(Json::array({key, value}));
      return compare_items(got, items, path);
    }
    if (want.contains("items")) return compare_items(got, want["items"], path);
    bool same = false;
    if (want.contains("dtype"))
      same = got.is_dtype() && torch_name(got.as_dtype()) == want["dtype"].get<std::string>();
    else if (want.contains("device"))
      same = got.is_device() && got.as_device() == Device(want["device"].get<std::string>());
    else if (want.contains("int"))
      same = got == Value::big_integer(want["int"]);
    else if (want.contains("float"))
      same = got.is_double() && same_float(got.as_double(), want["float"]);
    else
      throw Error(path + ": the list expects what this program does not know: " + want.dump());
    if (!same) differ(path, got, want);
  }

  static bool same_float(double got, const std::string& want) {
    return want == "nan" ? std::isnan(got) : got == (want == "inf" ? INFINITY : -INFINITY);
  }

  void compare_list(const Value& got, const Json& want, Value::ListKind kind, const std::string& path) const {
    if (!got.is_list() || got.list_kind() != kind || got.size() != want.size()) differ(path, got, want);
    for (size_t i = 0; i < want.size(); ++i) compare(got.as_list()[i], want[i], path + "[" + std::to_string(i) + "]");
  }

  void compare_items(const Value& got, const Json& want, const std::string& path) const {
    if (!got.is_dict() || got.size() != want.size()) differ(path, got, want);
    for (size_t i = 0; i < want.size(); ++i) {
      const Value::Dict::Item* item = &got.as_dict().items()[i];
      if (!ordered_) {
        const Value* value = got.find(want[i][0].get<std::string>());
        if (!value) differ(path, got, want);
        compare(*value, want[i][1], path + "." + want[i][0].get<std::string>());
        continue;
      }
      compare(item->first, want[i][0], path + " (key " + std::to_string(i) + ")");
      compare(item->second, want[i][1],
              path + "." + (item->first.is_string() ? item->first.as_string() : item->first.str()));
    }
  }

  void compare_tensor(const Value& value, const Json& want, const std::string& path) const {
    const Tensor& expected = tensors_.find(want["tensor"]) ? *tensors_.find(want["tensor"])
                                                           : throw Error(path + ": no such expected tensor");
    const Tensor& got = value.as_tensor(path);
    const auto fail = [&](const std::string& what) { throw Error(path + ": " + what + "; got " + Value(got).str()); };
    if (torch_name(got.dtype()) != want["dtype"].get<std::string>())
      fail("the dtype should be " + want["dtype"].get<std::string>());
    if (!(got.sizes() == expected.sizes())) fail("the shape should be " + Value(expected).str());
    if (want.contains("stride")) {
      if (!(got.strides() == Dims(want["stride"].get<std::vector<int64_t>>())))
        fail("the strides should be " + want["stride"].dump());
      if (got.storage_offset() != want["offset"].get<int64_t>()) fail("the offset should be " + want["offset"].dump());
    } else if (!got.is_contiguous()) {
      fail("it should be contiguous");
    }
    if (!want.value("parameter", false) && got.requires_grad() != want.value("requires_grad", false))
      fail("requires_grad is wrong");
    const Tensor a = got.detach().contiguous(), b = expected.contiguous();
    if (a.nbytes() != b.nbytes() || (a.nbytes() > 0 && std::memcmp(a.data_ptr(), b.data_ptr(), a.nbytes()) != 0))
      fail("the values differ");
  }

  const StateDict& tensors_;
  bool ordered_;
};

/// The tensor at a path such as "$.wte.weight"; keys may contain points themselves.
const Tensor& at_path(const Value& root, std::string_view path) {
  const Value* value = &root;
  path.remove_prefix(std::min<size_t>(path.size(), 2));
  while (!path.empty()) {
    size_t end = path.size();
    while (!value->contains(path.substr(0, end))) {
      end = path.rfind('.', end - 1);
      if (end == std::string_view::npos || end == 0) throw Error("no value at '" + std::string(path) + "'");
    }
    value = value->find(path.substr(0, end));
    path.remove_prefix(std::min(path.size(), end + 1));
  }
  return value->as_tensor();
}

int64_t peak_megabytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024;
}

/// Throws a weft::Error that says what went wrong.
void run_case(const std::string& folder, const Json& test, const StateDict& tensors) {
  const std::string path = folder + "/" + test["file"].get<std::string>();
  const bool must_fail = test.value("error", false), may_fail = must_fail || test.value("either", false);
  const bool trap_was_there = std::filesystem::exists("PWNED");
  const int64_t megabytes = peak_megabytes();
  const auto start = std::chrono::steady_clock::now();
  Value value;
  std::string refused;
  try {
    value = load(path);
  } catch (const FileError& error) {
    refused = error.what();
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (!trap_was_there && std::filesystem::exists("PWNED")) throw Error("the file ran code");
  if (seconds > kMaxSeconds) throw Error("it took " + std::to_string(seconds) + " s");
  if (peak_megabytes() - megabytes > kMaxMegabytes)
    throw Error("it took " + std::to_string(peak_megabytes() - megabytes) + " MB");
  if (must_fail && refused.empty()) throw Error("loaded, but must be refused");
  if (!may_fail && !refused.empty()) throw Error(refused);
  if (may_fail) return;
  Comparison(tensors, test["format"] == "torch").compare(value, test["expect"], "$");
  if (test.contains("shared")) {
    for (const auto& group : test["shared"]) {
      for (const auto& other : group) {
        if (!at_path(value, group[0].get<std::string>())
                 .shares_storage_with(at_path(value, other.get<std::string>()))) {
          throw Error(other.get<std::string>() + " should share its storage with " + group[0].get<std::string>());
        }
      }
    }
  }
  if (test.contains("metadata")) {
    const Json metadata = safetensors_metadata(path);
    for (const auto& [key, text] : test["metadata"].items()) {
      if (!metadata.contains(key) || metadata[key] != text) throw Error("metadata '" + key + "' differs");
    }
    if (metadata.size() != test["metadata"].size()) throw Error("more metadata than expected");
  }
}

}  // namespace

CheckpointResult check_checkpoints(const std::string& folder,
                                   const std::function<bool(const std::string& id)>& wanted) {
  const Json list = read_json<Json>(folder + "/checkpoints.json");
  CheckpointResult result;
  try {
    const StateDict tensors = load_safetensors(folder + "/" + list.at("tensors").get<std::string>());
    for (const Json& test : list.at("cases")) {
      const std::string id = test.at("id");
      if (wanted && !wanted(id)) continue;
      try {
        run_case(folder, test, tensors);
        ++result.passed;
      } catch (const Error& error) {
        result.failures.push_back({id, error.what()});
      }
    }
  } catch (const Json::exception& error) {
    WEFT_CHECK_FILE(false, "check: '{}/checkpoints.json' does not have the expected form; {}", folder, error.what());
  }
  return result;
}

}  // namespace weft::tools
