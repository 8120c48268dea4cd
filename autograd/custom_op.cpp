#include "autograd/custom_op.h"

#include <deque>
#include <mutex>

#include "core/error.h"

namespace weft {

bool detail::register_custom_op(const CustomOpSource& source, const OpSchema& schema) {
  WEFT_CHECK(find_custom_op(schema.name) || !find_op(schema.name),
             "WEFT_REGISTER_OP: {} is the name of an op of weft; choose another name", schema.name);
  if (!add_custom_source(source)) return true;
  // Never destroyed: the registry points into it.
  static std::mutex* mutex = new std::mutex;
  static auto* schemas = new std::deque<OpSchema>;
  std::lock_guard lock(*mutex);
  schemas->push_back(schema);
  add_op_schemas({&schemas->back(), 1});
  return true;
}

}  // namespace weft
