#include "core/ops/optimizer_step.h"

#include <algorithm>

#include "core/error.h"
#include "core/thread_state.h"

namespace weft {

const OpRecord SgdStepOp::record{.name = "sgd_step", .cpu = cpu::sgd_step};
const OpRecord AdamStepOp::record{.name = "adam_step", .cpu = cpu::adam_step};

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

}  // namespace weft
