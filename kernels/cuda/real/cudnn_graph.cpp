#include "kernels/cuda/real/cudnn_graph.h"

#include "core/error.h"

namespace weft::gpu::cudnn {

Descriptor::Descriptor(cudnnBackendDescriptorType_t type) {
  check(library()->create_descriptor(type, &raw_), "cudnnBackendCreateDescriptor");
}
Descriptor::~Descriptor() {
  if (raw_ != nullptr) library()->destroy_descriptor(raw_);
}
void Descriptor::set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
                     const void* values) {
  const cudnnStatus_t status = library()->set_attribute(raw_, name, type, count, values);
  if (status != CUDNN_STATUS_SUCCESS) [[unlikely]]
    check(status, ("attribute " + std::to_string(int(name))).c_str());
}
void Descriptor::finalize() { check(try_finalize(), "cudnnBackendFinalize"); }

cudnnDataType_t data_type(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return CUDNN_DATA_FLOAT;
    case DType::f64:
      return CUDNN_DATA_DOUBLE;
    case DType::bf16:
      return CUDNN_DATA_BFLOAT16;
    case DType::f16:
      return CUDNN_DATA_HALF;
    default:
      WEFT_FAIL("cuDNN: {} is not used", dtype);
  }
}

// ---- tensors

Graph::Tensor Graph::tensor(cudnnDataType_t type, const Sizes& sizes, const Sizes& strides, int64_t alignment,
                            bool is_virtual, bool by_value) {
  const int64_t id = static_cast<int64_t>(tensors_.size()) + 1;
  Descriptor t(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  t.set(CUDNN_ATTR_TENSOR_DATA_TYPE, type);
  t.set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, static_cast<int64_t>(sizes.size()), sizes.data());
  t.set(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, static_cast<int64_t>(strides.size()), strides.data());
  t.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, id);
  t.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, alignment);
  if (is_virtual) t.set(CUDNN_ATTR_TENSOR_IS_VIRTUAL, true);
  if (by_value) t.set(CUDNN_ATTR_TENSOR_IS_BY_VALUE, true);
  t.finalize();
  tensors_.push_back(std::move(t));
  return id;
}
Graph::Tensor Graph::memory(cudnnDataType_t type, const Sizes& sizes, const Sizes& strides, int64_t alignment) {
  return tensor(type, sizes, strides, alignment, false, false);
}
Graph::Tensor Graph::between(cudnnDataType_t type, const Sizes& sizes, const Sizes& strides) {
  return tensor(type, sizes, strides, 16, true, false);
}
Graph::Tensor Graph::number(cudnnDataType_t type, int rank) {
  const Sizes ones(static_cast<size_t>(rank), 1);
  return tensor(type, ones, ones, 16, false, true);
}

// ---- operations

void Graph::operation(cudnnBackendDescriptorType_t type,
                      std::initializer_list<std::pair<cudnnBackendAttributeName_t, const Descriptor*>> parts) {
  Descriptor o(type);
  for (const auto& [name, part] : parts) o.set(name, *part);
  o.finalize();
  operations_.push_back(std::move(o));
}

void Graph::convolve(Convolve kind, Tensor x, Tensor w, Tensor y, cudnnDataType_t compute, const Sizes& stride,
                     const Sizes& padding, const Sizes& dilation) {
  const auto space = static_cast<int64_t>(stride.size());
  Descriptor c(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  const cudnnConvolutionMode_t mode = CUDNN_CROSS_CORRELATION;
  c.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, compute);
  c.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, 1, &mode);
  c.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, space);
  c.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_TYPE_INT64, space, padding.data());
  c.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, CUDNN_TYPE_INT64, space, padding.data());
  c.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_TYPE_INT64, space, stride.data());
  c.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, CUDNN_TYPE_INT64, space, dilation.data());
  c.finalize();
  struct Names {
    cudnnBackendDescriptorType_t type;
    cudnnBackendAttributeName_t x, w, y, convolution, alpha, beta;
  };
  static constexpr Names kNames[] = {
      {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
       CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
       CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
       CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA},
      {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA},
      {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC, CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
       CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA}};
  const Names& names = kNames[static_cast<int>(kind)];
  Descriptor o(names.type);
  o.set(names.x, at(x)), o.set(names.w, at(w)), o.set(names.y, at(y)), o.set(names.convolution, c);
  if (compute == CUDNN_DATA_DOUBLE) {
    o.set(names.alpha, 1.0), o.set(names.beta, 0.0);
  } else {
    const float one = 1, zero = 0;
    o.set(names.alpha, CUDNN_TYPE_FLOAT, 1, &one), o.set(names.beta, CUDNN_TYPE_FLOAT, 1, &zero);
  }
  o.finalize();
  operations_.push_back(std::move(o));
  parts_.push_back(std::move(c));
}

void Graph::matmul(Tensor a, Tensor b, Tensor c) {
  Descriptor m(CUDNN_BACKEND_MATMUL_DESCRIPTOR);
  m.set(CUDNN_ATTR_MATMUL_COMP_TYPE, CUDNN_DATA_FLOAT);
  m.finalize();
  operation(CUDNN_BACKEND_OPERATION_MATMUL_DESCRIPTOR, {{CUDNN_ATTR_OPERATION_MATMUL_ADESC, &at(a)},
                                                        {CUDNN_ATTR_OPERATION_MATMUL_BDESC, &at(b)},
                                                        {CUDNN_ATTR_OPERATION_MATMUL_CDESC, &at(c)},
                                                        {CUDNN_ATTR_OPERATION_MATMUL_DESC, &m}});
  parts_.push_back(std::move(m));
}

namespace {
Descriptor pointwise_of(cudnnPointwiseMode_t mode, cudnnDataType_t compute, int64_t axis = -1) {
  Descriptor p(CUDNN_BACKEND_POINTWISE_DESCRIPTOR);
  p.set(CUDNN_ATTR_POINTWISE_MODE, CUDNN_TYPE_POINTWISE_MODE, 1, &mode);
  p.set(CUDNN_ATTR_POINTWISE_MATH_PREC, compute);
  if (axis >= 0) p.set(CUDNN_ATTR_POINTWISE_AXIS, axis);
  p.finalize();
  return p;
}
}  // namespace

void Graph::pointwise(cudnnPointwiseMode_t mode, Tensor x, Tensor y, cudnnDataType_t compute) {
  Descriptor p = pointwise_of(mode, compute);
  operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, {{CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, &p},
                                                           {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, &at(x)},
                                                           {CUDNN_ATTR_OPERATION_POINTWISE_YDESC, &at(y)}});
  parts_.push_back(std::move(p));
}
void Graph::pointwise(cudnnPointwiseMode_t mode, Tensor x, Tensor b, Tensor y, cudnnDataType_t compute) {
  Descriptor p = pointwise_of(mode, compute);
  operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, {{CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, &p},
                                                           {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, &at(x)},
                                                           {CUDNN_ATTR_OPERATION_POINTWISE_BDESC, &at(b)},
                                                           {CUDNN_ATTR_OPERATION_POINTWISE_YDESC, &at(y)}});
  parts_.push_back(std::move(p));
}
void Graph::index(Tensor x, Tensor y, int64_t axis) {
  Descriptor p = pointwise_of(CUDNN_POINTWISE_GEN_INDEX, CUDNN_DATA_FLOAT, axis);
  operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, {{CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, &p},
                                                           {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, &at(x)},
                                                           {CUDNN_ATTR_OPERATION_POINTWISE_YDESC, &at(y)}});
  parts_.push_back(std::move(p));
}
void Graph::select(Tensor x, Tensor b, Tensor condition, Tensor y) {
  Descriptor p = pointwise_of(CUDNN_POINTWISE_BINARY_SELECT, CUDNN_DATA_FLOAT);
  operation(CUDNN_BACKEND_OPERATION_POINTWISE_DESCRIPTOR, {{CUDNN_ATTR_OPERATION_POINTWISE_PW_DESCRIPTOR, &p},
                                                           {CUDNN_ATTR_OPERATION_POINTWISE_XDESC, &at(x)},
                                                           {CUDNN_ATTR_OPERATION_POINTWISE_BDESC, &at(b)},
                                                           {CUDNN_ATTR_OPERATION_POINTWISE_TDESC, &at(condition)},
                                                           {CUDNN_ATTR_OPERATION_POINTWISE_YDESC, &at(y)}});
  parts_.push_back(std::move(p));
}
void Graph::reduce(cudnnReduceTensorOp_t operator_, Tensor x, Tensor y) {
  Descriptor r(CUDNN_BACKEND_REDUCTION_DESCRIPTOR);
  r.set(CUDNN_ATTR_REDUCTION_COMP_TYPE, CUDNN_DATA_FLOAT);
  r.set(CUDNN_ATTR_REDUCTION_OPERATOR, CUDNN_TYPE_REDUCTION_OPERATOR_TYPE, 1, &operator_);
  r.finalize();
  operation(CUDNN_BACKEND_OPERATION_REDUCTION_DESCRIPTOR, {{CUDNN_ATTR_OPERATION_REDUCTION_XDESC, &at(x)},
                                                           {CUDNN_ATTR_OPERATION_REDUCTION_YDESC, &at(y)},
                                                           {CUDNN_ATTR_OPERATION_REDUCTION_DESC, &r}});
  parts_.push_back(std::move(r));
}
void Graph::reshape(Tensor x, Tensor y) {
  operation(CUDNN_BACKEND_OPERATION_RESHAPE_DESCRIPTOR,
            {{CUDNN_ATTR_OPERATION_RESHAPE_XDESC, &at(x)}, {CUDNN_ATTR_OPERATION_RESHAPE_YDESC, &at(y)}});
}

// ---- plans

namespace {

std::string last_words() {
  char text[2048] = "";
  library()->last_error(text, sizeof text);
  return text;
}

std::vector<Descriptor> engine_configurations(const Descriptor& graph, const Target& target,
                                              cudnnBackendHeurMode_t mode, std::string& why) {
  Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, 1, &mode);
  if (target.properties != nullptr)
    heuristics.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &target.properties);
  if (heuristics.try_finalize() != CUDNN_STATUS_SUCCESS) {
    why = "no engine for this graph: " + last_words();
    return {};
  }
  int64_t count = 0;
  if (library()->get_attribute(heuristics.raw(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0,
                               &count, nullptr) != CUDNN_STATUS_SUCCESS)
    return {};
  std::vector<Descriptor> found;
  std::vector<cudnnBackendDescriptor_t> raw;
  for (int64_t i = 0; i < count; ++i) {
    found.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    raw.push_back(found.back().raw());
  }
  int64_t given = 0;
  if (library()->get_attribute(heuristics.raw(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, count,
                               &given, raw.data()) != CUDNN_STATUS_SUCCESS)
    return {};
  found.erase(found.begin() + static_cast<std::ptrdiff_t>(std::min(given, count)), found.end());
  return found;
}

bool allowed(const Descriptor& configuration, const Limits& limits) {
  if (!limits.deterministic && !limits.exact_f32) return true;
  Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  cudnnBackendDescriptor_t raw = engine.raw();
  int64_t count = 0;
  if (library()->get_attribute(configuration.raw(), CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                               &count, &raw) != CUDNN_STATUS_SUCCESS)
    return false;
  cudnnBackendNumericalNote_t notes[CUDNN_NUMERICAL_NOTE_TYPE_COUNT];
  count = 0;
  if (library()->get_attribute(engine.raw(), CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE,
                               CUDNN_NUMERICAL_NOTE_TYPE_COUNT, &count, notes) != CUDNN_STATUS_SUCCESS)
    return false;
  for (int64_t i = 0; i < count; ++i) {
    if (limits.deterministic && notes[i] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) return false;
    if (limits.exact_f32 &&
        (notes[i] == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS || notes[i] == CUDNN_NUMERICAL_NOTE_TENSOR_CORE ||
         notes[i] == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION || notes[i] == CUDNN_NUMERICAL_NOTE_FFT ||
         notes[i] == CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_6x6 || notes[i] == CUDNN_NUMERICAL_NOTE_WINOGRAD_TILE_13x13))
      return false;
  }
  return true;
}

}  // namespace

std::unique_ptr<Plan> Graph::plan(const Target& target, const Limits& limits, std::string& why) {
  Descriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  std::vector<cudnnBackendDescriptor_t> raw;
  for (const Descriptor& o : operations_) raw.push_back(o.raw());
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, CUDNN_TYPE_BACKEND_DESCRIPTOR, static_cast<int64_t>(raw.size()), raw.data());
  if (target.handle != nullptr) graph.set(cudnnBackendAttributeName_t(800), CUDNN_TYPE_HANDLE, 1, &target.handle);
  if (graph.try_finalize() != CUDNN_STATUS_SUCCESS) {
    why = "the graph is not supported: " + last_words();
    return nullptr;
  }
  why = "no engine for this graph";
  for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    for (const Descriptor& configuration : engine_configurations(graph, target, mode, why)) {
      if (!allowed(configuration, limits)) {
        why = "the engines for this graph are not deterministic, or not exact";
        continue;
      }
      Descriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
      if (target.handle != nullptr) plan.set(cudnnBackendAttributeName_t(400), CUDNN_TYPE_HANDLE, 1, &target.handle);
      if (target.properties != nullptr)
        plan.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &target.properties);
      plan.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration);
      if (plan.try_finalize() != CUDNN_STATUS_SUCCESS) {
        why = "no plan: " + last_words();
        continue;
      }
      int64_t bytes = 0, count = 0;
      check(library()->get_attribute(plan.raw(), CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1, &count,
                                     &bytes),
            "workspace size");
      if (bytes > limits.workspace) {
        why = "a plan needs " + std::to_string(bytes) + " bytes of workspace";
        continue;
      }
      return std::make_unique<Plan>(std::move(plan), bytes);
    }
  }
  return nullptr;
}

void Plan::execute(cudnnHandle_t handle, const std::vector<int64_t>& uids, const std::vector<void*>& pointers,
                   void* workspace) const {
  Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  const auto n = static_cast<int64_t>(uids.size());
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, n, uids.data());
  pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, n, pointers.data());
  pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, 1, &workspace);
  pack.finalize();
  check(library()->execute(handle, plan_.raw(), pack.raw()), "cudnnBackendExecute");
}

}  // namespace weft::gpu::cudnn
