// Loaders that deliver on a device: copies by the workers on a stream of their own, used on the consumer's.
#include <atomic>

#include "tests/cuda/need_device.h"
#include "weft.h"

namespace {

using namespace weft;

struct Rows {
  int64_t size() const { return 40; }
  std::pair<Tensor, int64_t> get(int64_t i) const { return {full({500}, static_cast<double>(i)), i}; }
};

TEST_CASE("loader: batches come on the device, whatever the stream that uses them") {
  NEED_DEVICES(1);
  for (const int workers : {0, 1, 3})
    for (const bool pin : {false, true})
      for (const bool own_stream : {false, true}) {
        const cuda::Stream stream = own_stream ? cuda::Stream::create() : cuda::Stream::current();
        const cuda::StreamGuard guard(stream);
        data::DataLoader loader(Rows{}, {.batch_size = 4, .num_workers = workers, .pin_memory = pin, .device = "cuda"});
        for (int epoch = 0; epoch < 2; ++epoch) {
          std::vector<Tensor> sums, labels;
          for (auto [x, y] : loader) {
            REQUIRE(x.device() == Device("cuda:0"));
            REQUIRE(y.device() == Device("cuda:0"));
            for (int k = 0; k < 3; ++k) x = x.add(1);  // work that is under way when the batch is gone
            sums.push_back(x.sum({.dim = 1}));
            labels.push_back(y);
          }
          const Tensor sum = cat(sums).cpu(), label = cat(labels).cpu();
          CHECK(label.equal(arange(40)));
          CHECK(sum.equal(label.to(DType::f32).add(3).mul(500)));
        }
        int seen = 0;
        for ([[maybe_unused]] auto& batch : loader)
          if (++seen == 2) break;
      }
}

TEST_CASE("loader: pinned batches stay on the host") {
  NEED_DEVICES(1);
  data::DataLoader loader(Rows{}, {.batch_size = 8, .num_workers = 2, .pin_memory = true});
  int64_t next = 0;
  for (auto [x, y] : loader) {
    CHECK(x.is_pinned());
    CHECK(y.is_pinned());
    CHECK(y.equal(arange(next, next + 8)));
    next += 8;
  }
  CHECK(next == 40);
}

}  // namespace
