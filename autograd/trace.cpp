#include "autograd/autograd.h"
#include "core/call_site.h"

namespace weft::autograd {

std::string describe_trace(const std::vector<void*>& frames) {
  std::string text;
  for (void* frame : frames)
    if (const std::string line = detail::describe_frame(frame); !line.empty()) text += "\n    " + line;
  return text;
}

}  // namespace weft::autograd
