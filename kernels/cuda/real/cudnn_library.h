#pragma once

#include <cudnn.h>

#include <string>

#include "kernels/cuda/runtime.h"

// cuDNN 9, opened at run time: weft runs without it.
namespace weft::gpu::cudnn {

struct Library {
  decltype(&::cudnnGetVersion) version;
  decltype(&::cudnnGetErrorString) error_string;
  decltype(&::cudnnGetLastErrorString) last_error;
  decltype(&::cudnnCreate) create;
  decltype(&::cudnnSetStream) set_stream;
  decltype(&::cudnnBackendCreateDescriptor) create_descriptor;
  decltype(&::cudnnBackendDestroyDescriptor) destroy_descriptor;
  decltype(&::cudnnBackendFinalize) finalize;
  decltype(&::cudnnBackendSetAttribute) set_attribute;
  decltype(&::cudnnBackendGetAttribute) get_attribute;
  decltype(&::cudnnBackendExecute) execute;
};
/// Null: missing, and why_missing() says why.
const Library* library();
const std::string& why_missing();

/// Throws weft::Error with the library's words unless `status` is success.
void check(cudnnStatus_t status, const char* what);

/// This thread's handle for the current device, working on `stream`.
cudnnHandle_t handle(cudaStream_t stream);

}  // namespace weft::gpu::cudnn
