#include "core/ops/optimizer_step.h"

#include <algorithm>

#include "core/error.h"
#include "core/thread_state.h"

namespace weft {

const OpRecord SgdStepOp::record{.name = "sgd_step", .cpu = cpu::sgd_step};
const OpRecord AdamStepOp::record{.name = "adam_step", .cpu = cpu::adam_step};
// Kernels of devices only: the host's ops cost no launches.
const OpRecord TotalNormOp::record{.name = "total_norm"};
const OpRecord ScaleDownOp::record{.name = "scale_down"};

const OpRecord UnscaleOp::record{.name = "unscale", .cpu = cpu::unscale};

namespace {

template <class A>
void run(const OpRecord& op, const std::vector<Tensor>& tensors, const A& a, size_t stride) {
  NoGrad guard;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const Tensor& p = tensors[i - i % stride];
    WEFT_ASSERT(tensors[i].dtype() == p.dtype() && tensors[i].strides() == p.strides() &&
                    detail::is_dense(p.sizes(), p.strides()),
                "{}: {} beside parameter {}", op.name, tensors[i], p);
  }
  auto call = [&](const std::vector<Tensor>& some) { dispatch(op, some, {}, a); };
  std::vector<Device> devices;  // of the parameters, each once
  for (size_t i = 0; i < tensors.size(); i += stride)
    if (std::find(devices.begin(), devices.end(), tensors[i].device()) == devices.end())
      devices.push_back(tensors[i].device());
  if (devices.size() < 2) {
    call(tensors);
  } else {
    for (const Device device : devices) {
      std::vector<Tensor> here;
      for (size_t i = 0; i < tensors.size(); i += stride)
        if (tensors[i].device() == device) here.insert(here.end(), &tensors[i], &tensors[i] + stride);
      call(here);
    }
  }
  for (size_t i = 0; i < tensors.size(); ++i)
    if (i % stride != 1) tensors[i].impl()->storage->bump(op.name);
}

// Floating and on one device.
bool together(const std::vector<Tensor>& tensors) {
  return !tensors.empty() && std::all_of(tensors.begin(), tensors.end(), [&](const Tensor& t) {
    return t.device().is_cuda() && t.device() == tensors[0].device() && is_floating(t.dtype());
  });
}
bool overlap(const std::vector<Tensor>& tensors) {
  std::vector<std::pair<const char*, const char*>> memory;
  for (const Tensor& t : tensors) {
    const char* begin = static_cast<const char*>(t.impl()->data);
    if (t.numel() > 0) memory.emplace_back(begin, begin + t.nbytes());
  }
  std::sort(memory.begin(), memory.end());
  for (size_t i = 1; i < memory.size(); ++i)
    if (memory[i].first < memory[i - 1].second) return true;
  return false;
}

}  // namespace

Tensor total_norm(const std::vector<Tensor>& tensors) {
  if (!together(tensors)) return {};
  std::vector<Tensor> in;
  DType dtype = tensors[0].dtype();
  for (const Tensor& t : tensors) {
    in.push_back(t.contiguous());
    dtype = promote_types(dtype, t.dtype());
  }
  Tensor out = empty({}, {.dtype = dtype, .device = tensors[0].device()});
  detail::dispatch(TotalNormOp::record, in.data(), static_cast<int>(in.size()), &out, 1, nullptr, 0);
  return out;
}

bool scale_down(const std::vector<Tensor>& tensors, const Tensor& total, double max_norm) {
  if (!together(tensors) || total.device() != tensors[0].device() || total.dim() != 0 || !is_floating(total.dtype()) ||
      overlap(tensors))
    return false;
  std::vector<Tensor> in = {total};
  for (const Tensor& t : tensors) {
    if (!detail::is_dense(t.sizes(), t.strides())) return false;
    in.push_back(t);
  }
  const ScaleDownOp::Attrs a{max_norm};
  NoGrad guard;
  dispatch(ScaleDownOp::record, in, {}, a);
  for (const Tensor& t : tensors) t.impl()->storage->bump(ScaleDownOp::record.name);
  return true;
}

void optimizer_step(const OpRecord& op, const std::vector<Tensor>& tensors, const SgdStepOp::Attrs& a) {
  run(op, tensors, a, a.momentum != 0 ? 3 : 2);
}
void optimizer_step(const OpRecord& op, const std::vector<Tensor>& tensors, const AdamStepOp::Attrs& a) {
  run(op, tensors, a, a.amsgrad ? 5 : 4);
}

std::vector<Tensor> unscale(const std::vector<Tensor>& gradients, double factor) {
  NoGrad guard;
  struct Group {
    Device device;
    std::vector<Tensor> in;
  };
  std::vector<Group> groups;
  std::vector<std::pair<Tensor, Tensor>> copies;  // of gradients whose elements do not lie densely
  for (const Tensor& g : gradients) {
    WEFT_CHECK_TYPE(is_floating(g.dtype()), "unscale: gradient {} is not floating", g);
    auto at = std::find_if(groups.begin(), groups.end(), [&](const Group& x) { return x.device == g.device(); });
    if (at == groups.end()) at = groups.insert(at, {g.device(), {}});
    if (detail::is_dense(g.sizes(), g.strides())) {
      at->in.push_back(g);
    } else {
      copies.emplace_back(g, g.clone(MemoryFormat::contiguous));
      at->in.push_back(copies.back().second);
    }
  }
  std::vector<Tensor> flags;
  const UnscaleOp::Attrs a{factor};
  for (Group& group : groups) {
    flags.push_back(zeros({1}, {.dtype = DType::f32, .device = group.device}));
    group.in.push_back(flags.back());
    dispatch(UnscaleOp::record, group.in, {}, a);
    for (const Tensor& t : group.in) t.impl()->storage->bump(UnscaleOp::record.name);
  }
  for (auto& [gradient, copy] : copies) gradient.copy_(copy);
  return flags;
}

}  // namespace weft
