#include "core/custom_source.h"

#include <map>
#include <mutex>
#include <string>

#include "core/error.h"

namespace weft {
namespace {

struct Table {
  std::mutex mutex;
  std::map<std::string, CustomOpSource, std::less<>> ops;
};
// Never destroyed: others point into it.
Table& table() {
  static Table* t = new Table;
  return *t;
}

}  // namespace

const CustomOpSource* find_custom_op(std::string_view name) {
  Table& t = table();
  std::lock_guard lock(t.mutex);
  auto it = t.ops.find(name);
  return it == t.ops.end() ? nullptr : &it->second;
}

bool detail::add_custom_source(const CustomOpSource& source) {
  Table& t = table();
  std::lock_guard lock(t.mutex);
  const auto [it, added] = t.ops.try_emplace(source.info->name, source);
  // The same text in two files (a header) is one op.
  WEFT_CHECK(added || it->second.text == source.text,
             "WEFT_REGISTER_OP: {} is registered twice with different texts; choose another name", source.info->name);
  return added;
}

}  // namespace weft
