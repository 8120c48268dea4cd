#include "autograd/custom_op.h"

#include <map>
#include <mutex>

#include "core/error.h"

namespace weft {
namespace {

struct Custom {
  CustomOpSource source;
  OpSchema schema;
};
struct Table {
  std::mutex mutex;
  std::map<std::string, Custom, std::less<>> ops;
};
// Never destroyed: the registry points into it.
Table& table() {
  static Table* t = new Table;
  return *t;
}

}  // namespace

const CustomOpSource* find_custom_op(std::string_view name) {
  Table& t = table();
  std::lock_guard lock(t.mutex);
  auto it = t.ops.find(name);
  return it == t.ops.end() ? nullptr : &it->second.source;
}

bool detail::register_custom_op(const CustomOpSource& source, const OpSchema& schema) {
  Table& t = table();
  std::lock_guard lock(t.mutex);
  if (auto it = t.ops.find(schema.name); it != t.ops.end()) {
    // The same text in two files (a header) is one op.
    WEFT_CHECK(it->second.source.text == source.text,
               "WEFT_REGISTER_OP: {} is registered twice with different texts; choose another name", schema.name);
    return true;
  }
  WEFT_CHECK(!find_op(schema.name), "WEFT_REGISTER_OP: {} is the name of an op of weft; choose another name",
             schema.name);
  auto it = t.ops.emplace(std::string(schema.name), Custom{source, schema}).first;
  add_op_schemas({&it->second.schema, 1});
  return true;
}

}  // namespace weft
