#include "kernels/cuda/blas.h"

#include <cublasLt.h>
#include <dlfcn.h>
#include <link.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "core/device_backend.h"
#include "kernels/cuda/allocator.h"

namespace weft::gpu {
namespace {

// What a plan may ask for; Hopper's kernels want more than older ones.
constexpr size_t kWorkspace = size_t{32} << 20;
constexpr size_t kMaxPlans = 4096;  // of a thread
constexpr int kMaxDevices = 64;

// cuBLASLt, opened when the first product comes: a program that never needs it starts without it.
struct Library {
  std::string name, missing;
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtGetVersion) version;
  decltype(&cublasLtGetStatusString) status_string;
  decltype(&cublasLtMatmul) matmul;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
  decltype(&cublasLtMatmulDescCreate) desc_create;
  decltype(&cublasLtMatmulDescDestroy) desc_destroy;
  decltype(&cublasLtMatmulDescSetAttribute) desc_set;
  decltype(&cublasLtMatrixLayoutCreate) layout_create;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy;
  decltype(&cublasLtMatrixLayoutSetAttribute) layout_set;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;

  Library();
};

// A library that the process has already (Python's, say) comes first; never one that is newer than the driver.
void* open_library(std::string& tried) {
  int driver = 0;
  check(cudaDriverGetVersion(&driver), "matmul");
  std::vector<std::string> names;
  for (int major = std::min(driver / 1000, 13); major >= 12; --major)
    names.push_back("libcublasLt.so." + std::to_string(major));
  for (const std::string& name : names) {
    if (void* p = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD)) return p;
    tried += (tried.empty() ? "" : " or ") + name;
  }
  std::vector<std::string> folders = {""};
  for (const char* variable : {"CUDA_HOME", "CUDA_PATH"})
    if (const char* home = std::getenv(variable))
      folders.insert(folders.end(), {std::string(home) + "/lib64/", std::string(home) + "/lib/"});
  folders.insert(folders.end(), {"/usr/local/cuda/lib64/", "/usr/local/cuda/lib/"});
  for (const std::string& folder : folders)
    for (const std::string& name : names)
      if (void* p = dlopen((folder + name).c_str(), RTLD_NOW | RTLD_LOCAL)) return p;
  return nullptr;
}

Library::Library() {
  std::string tried;
  void* const opened = open_library(tried);
  if (!opened) {
    missing = "no " + tried +
              " (looked in the library path, $CUDA_HOME, $CUDA_PATH and /usr/local/cuda); install cuBLAS of the CUDA "
              "toolkit, or put its folder into LD_LIBRARY_PATH";
    return;
  }
  std::string lacks;
  auto find = [&](auto& function, const char* symbol) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(opened, symbol));
    if (!function) lacks = symbol;
  };
  find(create, "cublasLtCreate");
  find(version, "cublasLtGetVersion");
  find(status_string, "cublasLtGetStatusString");
  find(matmul, "cublasLtMatmul");
  find(heuristic, "cublasLtMatmulAlgoGetHeuristic");
  find(desc_create, "cublasLtMatmulDescCreate");
  find(desc_destroy, "cublasLtMatmulDescDestroy");
  find(desc_set, "cublasLtMatmulDescSetAttribute");
  find(layout_create, "cublasLtMatrixLayoutCreate");
  find(layout_destroy, "cublasLtMatrixLayoutDestroy");
  find(layout_set, "cublasLtMatrixLayoutSetAttribute");
  find(preference_create, "cublasLtMatmulPreferenceCreate");
  find(preference_destroy, "cublasLtMatmulPreferenceDestroy");
  find(preference_set, "cublasLtMatmulPreferenceSetAttribute");
  link_map* map = nullptr;
  const std::string path = dlinfo(opened, RTLD_DI_LINKMAP, &map) == 0 && map ? map->l_name : tried;
  if (!lacks.empty()) {
    missing = path + " lacks " + lacks;
    return;
  }
  const size_t v = version();  // 130002 is 13.0.2, 120804 12.8.4
  name = "cuBLASLt " + std::to_string(v / 10000) + "." + std::to_string(v / 100 % 100) + "." + std::to_string(v % 100) +
         " (" + path + ")";
}

const Library& opened() {
  static const Library* const l = new Library;  // never destroyed: threads may end later
  return *l;
}
const Library& library() {
  const Library& l = opened();
  WEFT_CHECK(l.missing.empty(), "{}: {}", detail::running_op ? detail::running_op : "matmul", l.missing);
  return l;
}

void check_blas(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) [[likely]]
    return;
  WEFT_FAIL("{}: cuBLASLt: {}: {}", detail::running_op ? detail::running_op : "matmul", what,
            opened().status_string(status));
}

cublasLtHandle_t handle_of(int device) {
  static cublasLtHandle_t handles[kMaxDevices];
  static std::once_flag once[kMaxDevices];
  std::call_once(once[device], [&] { check_blas(library().create(&handles[device]), "cublasLtCreate"); });
  return handles[device];
}

cudaDataType_t data_type(DType t) {
  switch (t) {
    case DType::f64:
      return CUDA_R_64F;
    case DType::bf16:
      return CUDA_R_16BF;
    case DType::f16:
      return CUDA_R_16F;
    default:
      return CUDA_R_32F;
  }
}

// The largest power of two up to 256 that divides the address.
unsigned alignment(const void* p) { return 1u << std::countr_zero(uint32_t(reinterpret_cast<uintptr_t>(p) | 256)); }

// Everything the library's choice of an algorithm depends on.
struct Key {
  std::array<int64_t, 13> words;
  friend bool operator==(const Key&, const Key&) = default;
};
struct Hash {
  size_t operator()(const Key& key) const {
    uint64_t h = 0x9e3779b97f4a7c15ull;
    for (int64_t w : key.words) {
      h = (h ^ uint64_t(w)) * 0xd6e8feb86659fd93ull;
      h ^= h >> 32;
    }
    return h;
  }
};

struct Alignments {
  explicit Alignments(const MatmulCall& c)
      : a(alignment(c.a)), b(alignment(c.b)), c(c.beta != 0 ? alignment(c.c) : alignment(c.d)), d(alignment(c.d)) {
    if (c.bias) d = std::min(d, alignment(c.bias));
  }
  unsigned a, b, c, d;
};

Key key_of(const MatmulCall& c, const Alignments& align, int device) {
  const bool reads_c = c.beta != 0;
  uint64_t bits = uint64_t(device);
  auto add = [&](unsigned value, int width) { bits = bits << width | value; };
  add(align.a, 9), add(align.b, 9), add(align.c, 9), add(align.d, 9);
  add(c.transpose_a, 1), add(c.transpose_b, 1);
  add(unsigned(c.in), 4), add(unsigned(c.out), 4), add(unsigned(c.compute), 2), add(unsigned(c.epilogue), 2);
  return {{c.m, c.n, c.k, c.batch, c.lda, c.ldb, reads_c ? c.ldc : c.ldd, c.ldd, c.stride_a, c.stride_b,
           reads_c ? c.stride_c : c.stride_d, c.stride_d, int64_t(bits)}};
}

// Descriptors and algorithm of a call.
class Plan {
 public:
  Plan(const MatmulCall& c, const Alignments& align, cublasLtHandle_t handle);
  ~Plan() {
    const Library& l = opened();
    for (cublasLtMatrixLayout_t layout : {a_, b_, c_, d_})
      if (layout) l.layout_destroy(layout);
    if (desc_) l.desc_destroy(desc_);
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  bool found() const { return found_; }
  void run(const MatmulCall& c, cublasLtHandle_t handle, cudaStream_t stream);

 private:
  template <class T>
  void set(cublasLtMatmulDescAttributes_t which, const T& value) {
    check_blas(opened().desc_set(desc_, which, &value, sizeof value), "cublasLtMatmulDescSetAttribute");
  }
  void set_bias(void* bias) {
    if (bias == bias_) return;
    set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
    bias_ = bias;
  }
  void choose(const MatmulCall& c, const Alignments& align, cublasLtHandle_t handle);

  cublasLtMatmulDesc_t desc_ = nullptr;
  cublasLtMatrixLayout_t a_ = nullptr, b_ = nullptr, c_ = nullptr, d_ = nullptr;
  cublasLtMatmulAlgo_t algorithm_{};
  size_t workspace_ = 0;
  bool found_ = false;
  void* bias_ = nullptr;
};

cublasLtMatrixLayout_t layout(cudaDataType_t type, int64_t rows, int64_t columns, int64_t ld, int64_t batch,
                              int64_t stride) {
  const Library& l = opened();
  cublasLtMatrixLayout_t made = nullptr;
  check_blas(l.layout_create(&made, type, uint64_t(rows), uint64_t(columns), ld), "cublasLtMatrixLayoutCreate");
  if (batch > 1) {
    const int32_t count = int32_t(batch);
    check_blas(l.layout_set(made, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count), "batch count");
    check_blas(l.layout_set(made, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride, sizeof stride), "batch stride");
  }
  return made;
}

Plan::Plan(const MatmulCall& c, const Alignments& align, cublasLtHandle_t handle) {
  const bool f64 = c.compute == MatmulCompute::f64, reads_c = c.beta != 0;
  const cublasComputeType_t compute = f64                                ? CUBLAS_COMPUTE_64F
                                      : c.compute == MatmulCompute::tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32
                                                                         : CUBLAS_COMPUTE_32F;
  check_blas(opened().desc_create(&desc_, compute, f64 ? CUDA_R_64F : CUDA_R_32F), "cublasLtMatmulDescCreate");
  if (c.transpose_a) set(CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
  if (c.transpose_b) set(CUBLASLT_MATMUL_DESC_TRANSB, CUBLAS_OP_T);
  if (c.epilogue != MatmulEpilogue::none) {
    set(CUBLASLT_MATMUL_DESC_EPILOGUE,
        c.epilogue == MatmulEpilogue::bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_BGRADB);
    set_bias(c.bias);
  }
  const cudaDataType_t in = data_type(c.in), out = data_type(c.out);
  a_ = layout(in, c.transpose_a ? c.k : c.m, c.transpose_a ? c.m : c.k, c.lda, c.batch, c.stride_a);
  b_ = layout(in, c.transpose_b ? c.n : c.k, c.transpose_b ? c.k : c.n, c.ldb, c.batch, c.stride_b);
  c_ = layout(out, c.m, c.n, reads_c ? c.ldc : c.ldd, c.batch, reads_c ? c.stride_c : c.stride_d);
  d_ = layout(out, c.m, c.n, c.ldd, c.batch, c.stride_d);
  choose(c, align, handle);
}

void Plan::choose(const MatmulCall& c, const Alignments& align, cublasLtHandle_t handle) {
  const Library& l = opened();
  cublasLtMatmulPreference_t preference = nullptr;
  check_blas(l.preference_create(&preference), "cublasLtMatmulPreferenceCreate");
  auto prefer = [&](cublasLtMatmulPreferenceAttributes_t which, auto value) {
    check_blas(l.preference_set(preference, which, &value, sizeof value), "cublasLtMatmulPreferenceSetAttribute");
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, uint64_t(kWorkspace));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, uint32_t(align.a));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, uint32_t(align.b));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, uint32_t(align.c));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, uint32_t(align.d));
  // Partial sums of 16-bit floats stay in f32, so that a result is rounded once.
  if (itemsize(c.out) == 2)
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, uint32_t(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  cublasLtMatmulHeuristicResult_t results[4] = {};
  int count = 0;
  const cublasStatus_t status = l.heuristic(handle, desc_, a_, b_, c_, d_, preference, 4, results, &count);
  l.preference_destroy(preference);
  if (status != CUBLAS_STATUS_NOT_SUPPORTED && status != CUBLAS_STATUS_INVALID_VALUE)
    check_blas(status, "cublasLtMatmulAlgoGetHeuristic");
  else
    count = 0;
  for (int i = 0; i < count && !found_; ++i) {
    if (results[i].state != CUBLAS_STATUS_SUCCESS || results[i].workspaceSize > kWorkspace) continue;
    algorithm_ = results[i].algo;
    workspace_ = results[i].workspaceSize;
    found_ = true;
  }
}

void Plan::run(const MatmulCall& c, cublasLtHandle_t handle, cudaStream_t stream) {
  if (c.epilogue != MatmulEpilogue::none) set_bias(c.bias);
  const float alpha = float(c.alpha), beta = float(c.beta);
  const bool f64 = c.compute == MatmulCompute::f64;
  const void* const by = f64 ? static_cast<const void*>(&c.alpha) : &alpha;
  const void* const plus = f64 ? static_cast<const void*>(&c.beta) : &beta;
  const void* const addend = c.beta != 0 ? c.c : c.d;
  auto start = [&](void* workspace) {
    check_blas(opened().matmul(handle, desc_, by, c.a, a_, c.b, b_, plus, addend, c_, c.d, d_, &algorithm_, workspace,
                               workspace_, stream),
               "cublasLtMatmul");
  };
  if (workspace_ == 0) return start(nullptr);
  const Workspace workspace(workspace_);
  start(workspace.data());
}

// Descriptors hold the bias pointer, so that every thread has its own.
Plan& plan_of(const MatmulCall& c, cublasLtHandle_t handle, int device) {
  thread_local std::unordered_map<Key, Plan, Hash> plans;
  const Alignments align(c);
  const Key key = key_of(c, align, device);
  if (const auto found = plans.find(key); found != plans.end()) return found->second;
  if (plans.size() >= kMaxPlans) plans.clear();
  return plans.try_emplace(key, c, align, handle).first->second;
}

}  // namespace

bool matmul(const MatmulCall& call, cudaStream_t stream) {
  int device = 0;
  check(cudaGetDevice(&device), "matmul");
  const cublasLtHandle_t handle = handle_of(device);
  Plan& plan = plan_of(call, handle, device);
  if (!plan.found()) return false;
  ++launches;
  plan.run(call, handle, stream);
  after_launch(stream);
  return true;
}

std::string blas_library() {
  const Library& l = opened();
  return l.missing.empty() ? l.name : l.missing;
}

}  // namespace weft::gpu
