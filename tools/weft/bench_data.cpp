#include <algorithm>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <numeric>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/ops/random.h"
#include "core/random.h"
#include "data/loader.h"
#include "data/transforms.h"
#include "data/vision.h"
#include "tools/weft/bench.h"

namespace weft::bench {
namespace {

/// Images that become f32 a batch at a time.
class WholeBatches {
 public:
  explicit WholeBatches(data::LabelledImages images) : images_(std::move(images)) {}
  int64_t size() const { return images_.size(); }
  auto get(int64_t index) const { return images_.get(index); }
  std::pair<Tensor, Tensor> get_batch(std::span<const int64_t> indices) const {
    auto [x, y] = images_.get_batch(indices);
    return {data::transforms::ToTensor()(x), y};
  }

 private:
  data::LabelledImages images_;
};

/// The best of the epochs, in samples a second; every batch is touched, and the sum of all labels is right.
template <class Dataset>
double samples_per_second(const Dataset& dataset, const DataOptions& o, int64_t label_sum) {
  data::DataLoader loader(dataset, {.batch_size = o.batch,
                                    .shuffle = true,
                                    .num_workers = o.workers,
                                    .persistent_workers = o.workers > 0,
                                    .seed = 1});
  double best = 0;
  for (int epoch = 0; epoch < o.epochs; ++epoch) {
    const auto start = std::chrono::steady_clock::now();
    int64_t samples = 0, labels = 0;
    for (auto& [x, y] : loader) {
      WEFT_ASSERT(x.dtype() == DType::f32 && x.template data<float>()[x.numel() - 1] <= 1, "bench data: a wrong batch");
      samples += y.size(0);
      labels += std::accumulate(y.template data<int64_t>(), y.template data<int64_t>() + y.size(0), int64_t{0});
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    WEFT_ASSERT(samples == dataset.size() && labels == label_sum, "bench data: samples are missing");
    best = std::max(best, static_cast<double>(samples) / seconds);
  }
  return best;
}

/// What the peer's script prints last: one JSON line.
nlohmann::json peer_line(const std::string& command) {
  FILE* pipe = popen(command.c_str(), "r");
  WEFT_CHECK(pipe != nullptr, "bench data: cannot run '{}'", command);
  std::string text;
  char buffer[4096];
  while (const size_t n = std::fread(buffer, 1, sizeof(buffer), pipe)) text.append(buffer, n);
  const int status = pclose(pipe);
  const size_t begin = text.rfind("\n{");
  const auto line = nlohmann::json::parse(text.substr(begin == std::string::npos ? 0 : begin), nullptr, false);
  WEFT_CHECK(status == 0 && line.is_object(), "bench data: '{}' ended with status {} and no JSON line", command,
             status);
  return line;
}

}  // namespace

int run_data(const DataOptions& o) {
  Generator generator(1);
  const Tensor images = randint(0, 256, {o.samples, 1, 28, 28}, {.dtype = DType::u8}, &generator);
  const Tensor labels = randint(0, 10, {o.samples}, {}, &generator);
  const int64_t sum = labels.sum().item<int64_t>();
  const data::LabelledImages whole(images, labels, {}), each(images, labels, {}, data::transforms::ToTensor());
  nlohmann::ordered_json row{
      {"name", "data"}, {"samples", o.samples}, {"batch", o.batch}, {"workers", o.workers}, {"epochs", o.epochs}};
  row["samples_per_s"] = samples_per_second(WholeBatches(whole), o, sum);
  row["single_samples_per_s"] = samples_per_second(each, o, sum);
  if (!o.peer.empty()) {
    const auto line =
        peer_line(o.peer + " --samples " + std::to_string(o.samples) + " --batch " + std::to_string(o.batch) +
                  " --workers " + std::to_string(o.workers) + " --epochs " + std::to_string(std::min(o.epochs, 3)));
    row["peer"] = line;
    const double best = std::max(line.value("samples_per_s", 0.0), line.value("single_samples_per_s", 0.0));
    WEFT_CHECK(best > 0, "bench data: the peer's line has no samples_per_s");
    row["times_peer"] = row["samples_per_s"].get<double>() / best;
    row["single_times_peer"] = row["single_samples_per_s"].get<double>() / line.value("single_samples_per_s", best);
  }
  std::puts(row.dump().c_str());
  return 0;
}

}  // namespace weft::bench
