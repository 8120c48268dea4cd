#pragma once
#include <string_view>

#include "core/pointwise.h"

// The texts of users' own pointwise ops (autograd/custom_op.h), for devices, whose kernels are made of them at run
// time.
namespace weft {

struct CustomOpSource {
  const PointwiseInfo* info;
  std::string_view record;  ///< the struct's name in namespace weft::ops::custom
  std::string_view text;    ///< what stands in that namespace
};
/// Null when no op of that name was registered.
const CustomOpSource* find_custom_op(std::string_view name);

namespace detail {
/// False: the same text has that name already. An Error: another text has it.
bool add_custom_source(const CustomOpSource& source);
}  // namespace detail

}  // namespace weft
