#include "kernels/cuda/custom_op.h"

#include <cuda.h>
#include <dlfcn.h>

#include <algorithm>
#include <map>
#include <mutex>
#include <tuple>

#include "kernels/cuda/custom_code.h"
#include "kernels/cuda/pointwise.cuh"

// Own ops: the driver loads what the run-time compiler made of their texts, and starts it with the arguments of the
// built-in kernels.
namespace weft::gpu {
namespace {

// libcuda is there only where a driver is.
struct Driver {
  decltype(&cuModuleLoadData) load = nullptr;
  decltype(&cuModuleGetFunction) function = nullptr;
  decltype(&cuLaunchKernel) launch = nullptr;
  decltype(&cuGetErrorString) text = nullptr;
  bool complete = false;

  Driver() {
    void* library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library) return;
    const auto get = [&](auto& to, const char* name) {
      to = reinterpret_cast<std::decay_t<decltype(to)>>(dlsym(library, name));
      return to != nullptr;
    };
    complete = get(load, "cuModuleLoadData") && get(function, "cuModuleGetFunction") && get(launch, "cuLaunchKernel") &&
               get(text, "cuGetErrorString");
  }
};
const Driver& driver() {
  static const Driver* d = new Driver;
  WEFT_CHECK(d->complete, "libcuda.so.1 lacks functions of CUDA 12; install a newer NVIDIA driver");
  return *d;
}

void check_driver(CUresult status, const char* op, const char* what) {
  if (status == CUDA_SUCCESS) return;
  const char* text = nullptr;
  driver().text(status, &text);
  detail::fail_with(detail::Fault::user, "{}: the driver cannot {}: {}", op, what, text ? text : "unknown error");
}

CUfunction load_kernel(const CustomOpSource& source, int which, CustomKernel kernel) {
  const DeviceFacts& facts = device_facts();
  const CompiledKernel code = custom_code(source, which, kernel, facts.major * 10 + facts.minor);
  cudaFree(nullptr);  // makes the context
  CUmodule module = nullptr;
  check_driver(driver().load(&module, code.image.c_str()), source.info->name, "load its compiled kernel");
  CUfunction function = nullptr;
  check_driver(driver().function(&function, module, code.name.c_str()), source.info->name, "find its kernel");
  return function;
}

// Modules stay loaded: kernels in flight may need them.
CUfunction find_kernel(const CustomOpSource& source, int which, CustomKernel kernel) {
  static auto* mutex = new std::mutex;
  static auto* loaded = new std::map<std::tuple<const CustomOpSource*, int, CustomKernel, int>, CUfunction>;
  std::lock_guard lock(*mutex);
  const std::tuple key(&source, which, kernel, current_device());
  auto it = loaded->find(key);
  if (it == loaded->end()) it = loaded->emplace(key, load_kernel(source, which, kernel)).first;
  return it->second;
}

template <class A>
void start(const CustomOpSource& source, int which, CustomKernel kernel, dim3 grid, const A& arguments) {
  const CUfunction function = find_kernel(source, which, kernel);
  check_launch({grid.x, 1, 1, kThreads, 1, 1, 0});
  ++launches;
  void* parameters[] = {const_cast<A*>(&arguments)};
  const auto go = [&] {
    return driver().launch(function, grid.x, 1, 1, kThreads, 1, 1, 0, current_stream(), parameters, nullptr);
  };
  CUresult status = go();
  if (status == CUDA_ERROR_INVALID_CONTEXT) {  // a thread that has asked nothing of the device yet
    cudaFree(nullptr);
    status = go();
  }
  check_driver(status, source.info->name, "start its kernel");
  after_launch(current_stream());
}

template <int N>
void run(const detail::PointwiseCall& c, const CustomOpSource& source, int which, const LoopNest& nest,
         std::span<const Scalar> params) {
  const auto rows = [&](auto s, CustomKernel kernel) {
    using S = typename decltype(s)::type;
    if (!in_rows<S>(nest)) return false;
    const RowArguments<N, S> a = row_arguments<N, S>(nest, params);
    start(source, which, kernel, grid_for(a.packs), a);
    return true;
  };
  const auto strided = [&](auto t, CustomKernel kernel) {
    const auto a = strided_arguments<typename decltype(t)::type, N>(nest, c.truth, params);
    start(source, which, kernel, grid_for(a.n), a);
  };
  if (c.compute == DType::f64) return strided(Type<double>{}, CustomKernel::strided_f64);
  if (c.compute == DType::i64) return strided(Type<i64>{}, CustomKernel::strided_i64);
  if (!c.loops.writes_bool &&
      (rows(Type<float>{}, CustomKernel::rows_f32) || rows(Type<BFloat16>{}, CustomKernel::rows_bf16) ||
       rows(Type<Half>{}, CustomKernel::rows_f16)))
    return;
  strided(Type<float>{}, CustomKernel::strided_f32);
}

}  // namespace

void run_custom(const detail::PointwiseCall& c, const CustomOpSource& source) {
  if (c.out.numel() == 0) return;
  int which = -1, slots[5] = {0, 1, 2}, n = c.n_in;
  if (&c.loops != &c.op.forward) {
    // The same order and choice as Backward::slots.
    which = int(&c.loops - c.op.backward);
    n = 1;
    for (int i = 0; i < c.op.arity; ++i)
      if (c.op.needs[which] >> i & 1) slots[n++] = i + 1;
    if (c.op.needs[which] & ops::kY) slots[n++] = c.op.arity + 1;
  }
  const std::span params(c.params, size_t(c.op.params));
  in_parts(make_nest(c.out, c.in, slots, n), [&](const LoopNest& nest) {
    switch (n) {
      case 1:
        return run<1>(c, source, which, nest, params);
      case 2:
        return run<2>(c, source, which, nest, params);
      case 3:
        return run<3>(c, source, which, nest, params);
      case 4:
        return run<4>(c, source, which, nest, params);
      default:
        return run<5>(c, source, which, nest, params);
    }
  });
}

}  // namespace weft::gpu
