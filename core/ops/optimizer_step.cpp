#include "core/ops/optimizer_step.h"

#include <algorithm>

#include "core/error.h"
#include "core/thread_state.h"

namespace weft {

const OpRecord SgdStepOp::record{.name = "sgd_step", .cpu = cpu::sgd_step};
const OpRecord AdamStepOp::record{.name = "adam_step", .cpu = cpu::adam_step};

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
  auto call = [&](const std::vector<Tensor>& some) {
    detail::dispatch(op, some.data(), static_cast<int>(some.size()), nullptr, 0, &a, sizeof a);
  };
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

}  // namespace

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
    detail::dispatch(UnscaleOp::record, group.in.data(), static_cast<int>(group.in.size()), nullptr, 0, &a, sizeof a);
    for (const Tensor& t : group.in) t.impl()->storage->bump(UnscaleOp::record.name);
  }
  for (auto& [gradient, copy] : copies) gradient.copy_(copy);
  return flags;
}

}  // namespace weft
