#include "kernels/cuda/real/cudnn_library.h"

#include <dlfcn.h>

#include <map>

#include "core/error.h"
#include "kernels/cuda/dnn.h"

namespace weft::gpu::cudnn {
namespace {

struct Opened {
  Library functions{};
  std::string missing;

  Opened() {
    const char* name = "libcudnn.so.9";
    void* file = dlopen(name, RTLD_NOW | RTLD_NOLOAD);
    for (const char* path : {name, "/usr/local/cuda/lib64/libcudnn.so.9"}) {
      if (file != nullptr) break;
      file = dlopen(path, RTLD_NOW | RTLD_LOCAL);
      if (file == nullptr && missing.empty()) {
        const char* reason = dlerror();
        missing = reason != nullptr ? reason : "libcudnn.so.9 was not found";
      }
    }
    if (file == nullptr) {
      missing = "cuDNN 9 is missing (" + missing + "); install it, or name its folder in LD_LIBRARY_PATH";
      return;
    }
    missing.clear();
    const auto find = [&](const char* symbol, auto& to) {
      to = reinterpret_cast<std::remove_reference_t<decltype(to)>>(dlsym(file, symbol));
      if (to == nullptr && missing.empty()) missing = std::string("libcudnn.so.9 has no ") + symbol;
    };
    find("cudnnGetVersion", functions.version);
    find("cudnnGetErrorString", functions.error_string);
    find("cudnnGetLastErrorString", functions.last_error);
    find("cudnnCreate", functions.create);
    find("cudnnSetStream", functions.set_stream);
    find("cudnnBackendCreateDescriptor", functions.create_descriptor);
    find("cudnnBackendDestroyDescriptor", functions.destroy_descriptor);
    find("cudnnBackendFinalize", functions.finalize);
    find("cudnnBackendSetAttribute", functions.set_attribute);
    find("cudnnBackendGetAttribute", functions.get_attribute);
    find("cudnnBackendExecute", functions.execute);
    if (missing.empty() && functions.version() < 90000)
      missing = "cuDNN " + std::to_string(functions.version()) + " is older than 9.0";
  }
};
const Opened& opened() {
  static const Opened* once = new Opened;  // never closed: other threads may still be inside at exit
  return *once;
}

}  // namespace

const Library* library() { return opened().missing.empty() ? &opened().functions : nullptr; }
const std::string& why_missing() { return opened().missing; }

void check(cudnnStatus_t status, const char* what) {
  if (status == CUDNN_STATUS_SUCCESS) [[likely]]
    return;
  char words[2048] = "";
  library()->last_error(words, sizeof words);
  WEFT_FAIL("cuDNN: {}: {}{}{}", what, library()->error_string(status), words[0] != '\0' ? ": " : "",
            static_cast<const char*>(words));
}

cudnnHandle_t handle(cudaStream_t stream) {
  // Never destroyed: at the end of a thread the driver may be gone.
  thread_local std::map<int, cudnnHandle_t>* handles = new std::map<int, cudnnHandle_t>;
  int device = 0;
  gpu::check(cudaGetDevice(&device), "cuDNN");
  cudnnHandle_t& h = (*handles)[device];
  if (h == nullptr) check(library()->create(&h), "cudnnCreate");
  check(library()->set_stream(h, stream), "cudnnSetStream");
  return h;
}

}  // namespace weft::gpu::cudnn

namespace weft::gpu::dnn {

std::string dnn_library() {
  if (cudnn::library() == nullptr) return cudnn::why_missing();
  const size_t v = cudnn::library()->version();
  return "cuDNN " + std::to_string(v / 10000) + "." + std::to_string(v / 100 % 100) + "." + std::to_string(v % 100);
}

}  // namespace weft::gpu::dnn
