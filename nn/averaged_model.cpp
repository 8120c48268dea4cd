#include "nn/averaged_model.h"

#include "core/error.h"
#include "core/host_read.h"
#include "core/ops/pointwise_api.h"
#include "core/thread_state.h"

namespace weft::nn::detail {
namespace {

void check_same(const std::vector<NamedTensor>& average, const std::vector<NamedTensor>& model) {
  WEFT_CHECK(average.size() == model.size(), "update_parameters: the model has {} tensors, the average {}",
             model.size(), average.size());
  for (size_t i = 0; i < model.size(); ++i)
    WEFT_CHECK(average[i].name == model[i].name && average[i].tensor.sizes() == model[i].tensor.sizes(),
               "update_parameters: \"{}\" {} of the model meets \"{}\" {} of the average; give the model it was made "
               "from",
               model[i].name, model[i].tensor.sizes(), average[i].name, average[i].tensor.sizes());
}

}  // namespace

void check_averaging(const AveragedModelOptions& o) {
  WEFT_CHECK(!o.ema_decay || (*o.ema_decay >= 0 && *o.ema_decay <= 1),
             "AveragedModel: ema_decay must lie in [0, 1], got {}", *o.ema_decay);
}

void update_average(Module& average, const Module& model, Tensor& n_averaged, const AveragedModelOptions& o) {
  const NoGrad guard;
  const auto take = [&](const std::vector<NamedTensor>& to, const std::vector<NamedTensor>& from, bool copy,
                        double weight) {
    for (size_t i = 0; i < to.size(); ++i) {
      Tensor mean = to[i].tensor.detach();
      const Tensor now = from[i].tensor.detach().to(mean.device(), mean.dtype());
      mean.copy_(copy || !is_floating(mean.dtype()) ? now : lerp(mean, now, weight));
    }
  };
  const auto parameters = average.named_parameters(), new_parameters = model.named_parameters();
  const auto buffers = average.named_buffers(), new_buffers = model.named_buffers();
  check_same(parameters, new_parameters);
  check_same(buffers, new_buffers);
  const weft::detail::HostRead read("AveragedModel: the weight of an average is a number of the host");
  const auto seen = n_averaged.item<int64_t>();
  const double weight = o.ema_decay ? 1 - *o.ema_decay : 1 / static_cast<double>(seen + 1);
  take(parameters, new_parameters, seen == 0, weight);
  take(buffers, new_buffers, seen == 0 || !o.use_buffers, weight);
  n_averaged.add_(1);
}

}  // namespace weft::nn::detail
