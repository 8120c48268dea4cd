#include "core/host_read.h"

namespace weft::detail {

constinit thread_local const char* HostRead::why_ = nullptr;

}  // namespace weft::detail
