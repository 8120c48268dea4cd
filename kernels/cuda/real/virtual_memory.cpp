#include "kernels/cuda/virtual_memory.h"

#include <cuda.h>
#include <dlfcn.h>

#include "kernels/cuda/runtime.h"

namespace weft::gpu {
namespace {

// libcuda is there only where a driver is: looked up at the first call.
struct Driver {
  decltype(&cuDeviceGetAttribute) attribute = nullptr;
  decltype(&cuMemAddressReserve) reserve = nullptr;
  decltype(&cuMemCreate) create = nullptr;
  decltype(&cuMemRelease) release = nullptr;
  decltype(&cuMemMap) map = nullptr;
  decltype(&cuMemUnmap) unmap = nullptr;
  decltype(&cuMemSetAccess) access = nullptr;
  bool complete = false;

  Driver() {
    void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) return;
    const auto get = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::decay_t<decltype(function)>>(dlsym(library, name));
      return function != nullptr;
    };
    complete = get(attribute, "cuDeviceGetAttribute") && get(reserve, "cuMemAddressReserve") &&
               get(create, "cuMemCreate") && get(release, "cuMemRelease") && get(map, "cuMemMap") &&
               get(unmap, "cuMemUnmap") && get(access, "cuMemSetAccess");
  }
};
const Driver& driver() {
  static const Driver* d = new Driver;
  return *d;
}

}  // namespace

void* reserve_addresses(size_t bytes) {
  const Driver& d = driver();
  int supported = 0;
  if (!d.complete ||
      d.attribute(&supported, CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED, current_device()) !=
          CUDA_SUCCESS ||
      !supported)
    return nullptr;
  cudaFree(nullptr);  // makes the context
  CUdeviceptr at = 0;
  return d.reserve(&at, bytes, 0, 0, 0) == CUDA_SUCCESS ? reinterpret_cast<void*>(at) : nullptr;
}

bool map_memory(void* at, size_t bytes) {
  const Driver& d = driver();
  const auto start = reinterpret_cast<CUdeviceptr>(at);
  CUmemAllocationProp kind{};
  kind.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  kind.location = {CU_MEM_LOCATION_TYPE_DEVICE, current_device()};
  size_t done = 0;
  for (; done < bytes; done += kChunk) {
    CUmemGenericAllocationHandle chunk{};
    if (d.create(&chunk, kChunk, &kind, 0) != CUDA_SUCCESS) break;
    const bool mapped = d.map(start + done, kChunk, 0, chunk, 0) == CUDA_SUCCESS;
    d.release(chunk);  // the mapping keeps it
    if (!mapped) break;
  }
  CUmemAccessDesc access{};
  access.location = kind.location;
  access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
  if (done == bytes && d.access(start, bytes, &access, 1) == CUDA_SUCCESS) return true;
  unmap_memory(at, done);
  return false;
}

void unmap_memory(void* at, size_t bytes) {
  for (size_t done = 0; done < bytes; done += kChunk) driver().unmap(reinterpret_cast<CUdeviceptr>(at) + done, kChunk);
}

}  // namespace weft::gpu
