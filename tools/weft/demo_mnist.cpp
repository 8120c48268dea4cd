#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "autograd/autograd.h"
#include "core/error.h"
#include "core/ops/extreme.h"
#include "core/ops/loss_api.h"
#include "core/ops/random.h"
#include "data/idx.h"
#include "tools/weft/demo.h"
#include "tools/weft/demo_digits.h"
#include "tools/weft/models.h"

namespace weft::demo {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kEvaluated = 1000, kEvaluationBatch = 250;
constexpr size_t kShown = 48;
constexpr int64_t kDrawn = 20000, kDrawnTest = 2000;
constexpr uint64_t kTestSeed = 0x7465737464696769;
constexpr int64_t kClasses = 10;
// Of MNIST's pixels; they serve any digits.
constexpr float kMean = 0.1307F, kDeviation = 0.3081F;

/// Numbered pictures with labels.
class Pictures {
 public:
  virtual ~Pictures() = default;
  virtual int64_t size() const = 0;
  /// Values in [0, 1] of picture i, height x width; its label.
  virtual int get(int64_t i, float* out) const = 0;
};

class Drawn : public Pictures {
 public:
  Drawn(uint64_t seed, int64_t size) : seed_(seed), size_(size) {}
  int64_t size() const override { return size_; }
  int get(int64_t i, float* out) const override { return draw_digit(seed_, static_cast<uint64_t>(i), out); }

 private:
  uint64_t seed_;
  int64_t size_;
};

/// Pictures [first, first + count) of a pair of IDX files.
class Stored : public Pictures {
 public:
  Stored(Tensor images, Tensor labels, int64_t first, int64_t count)
      : images_(std::move(images)),
        labels_(std::move(labels)),
        first_(first),
        count_(count),
        pixels_(images_.size(1) * images_.size(2)) {}
  int64_t size() const override { return count_; }
  int get(int64_t i, float* out) const override {
    const uint8_t* from = images_.data<uint8_t>() + (first_ + i) * pixels_;
    for (int64_t k = 0; k < pixels_; ++k) out[k] = static_cast<float>(from[k]) / 255.0F;
    return labels_.data<uint8_t>()[first_ + i];
  }

 private:
  Tensor images_, labels_;
  int64_t first_, count_, pixels_;
};

struct Data {
  std::unique_ptr<Pictures> train, test;
  int64_t height = kDigitSize, width = kDigitSize;
  std::string name;
};

/// The path of folder/name or folder/name.gz; empty when neither exists.
std::string find(const fs::path& folder, const std::string& name) {
  for (const char* ending : {"", ".gz"})
    if (fs::exists(folder / (name + ending))) return (folder / (name + ending)).string();
  return {};
}

std::pair<Tensor, Tensor> load_pair(const fs::path& folder, const std::string& prefix) {
  const std::string image_path = find(folder, prefix + "-images-idx3-ubyte"),
                    label_path = find(folder, prefix + "-labels-idx1-ubyte");
  WEFT_CHECK_FILE(!image_path.empty() && !label_path.empty(),
                  "mnist: '{}' lacks {}-images-idx3-ubyte or {}-labels-idx1-ubyte (.gz or not)", folder.string(),
                  prefix, prefix);
  Tensor images = load_idx(image_path), labels = load_idx(label_path);
  WEFT_CHECK_FILE(images.dtype() == DType::u8 && images.dim() == 3 && images.size(1) >= 4 && images.size(2) >= 4 &&
                      images.size(1) <= 512 && images.size(1) == images.size(2),
                  "mnist: '{}' holds {}; square pictures of bytes are needed", image_path, images);
  WEFT_CHECK_FILE(labels.dtype() == DType::u8 && labels.dim() == 1 && labels.size(0) == images.size(0),
                  "mnist: '{}' holds {} for {} pictures", label_path, labels, images.size(0));
  for (int64_t i = 0; i < labels.numel(); ++i)
    WEFT_CHECK_FILE(labels.data<uint8_t>()[i] < kClasses, "mnist: '{}' has the label {}; digits are 0 to 9", label_path,
                    int64_t{labels.data<uint8_t>()[i]});
  return {images, labels};
}

uint32_t checksum(const std::pair<Tensor, Tensor>& data) {
  uLong sum = 0;
  for (const Tensor& t : {data.first, data.second})
    sum = crc32_z(sum, static_cast<const Bytef*>(t.data_ptr()), t.nbytes());
  return static_cast<uint32_t>(sum);
}

Data read_data(const Settings& s) {
  Data data;
  if (s.data.empty()) {
    data.train = std::make_unique<Drawn>(static_cast<uint64_t>(s.seed), kDrawn);
    data.test = std::make_unique<Drawn>(static_cast<uint64_t>(s.seed) ^ kTestSeed, kDrawnTest);
    data.name = fmt::format("{} drawn digits, tested on {}", kDrawn, kDrawnTest);
    return data;
  }
  WEFT_CHECK_FILE(fs::is_directory(s.data), "mnist: '{}' is not a folder", s.data);
  const auto test = load_pair(s.data, "t10k");
  const int64_t n = test.first.size(0);
  data.height = test.first.size(1);
  data.width = test.first.size(2);
  uint32_t sum = checksum(test);
  if (!find(s.data, "train-images-idx3-ubyte").empty()) {
    const auto train = load_pair(s.data, "train");
    WEFT_CHECK_FILE(train.first.size(1) == data.height && train.first.size(2) == data.width,
                    "mnist: train- and t10k- pictures differ in size");
    data.train = std::make_unique<Stored>(train.first, train.second, 0, train.first.size(0));
    data.test = std::make_unique<Stored>(test.first, test.second, 0, n);
    sum ^= checksum(train);
  } else {
    const int64_t split = n / 10 * 9;
    data.train = std::make_unique<Stored>(test.first, test.second, 0, split);
    data.test = std::make_unique<Stored>(test.first, test.second, split, n - split);
  }
  WEFT_CHECK_FILE(data.train->size() > 0 && data.test->size() > 0,
                  "mnist: '{}' holds {} pictures; at least 10 are needed", s.data, n);
  data.name = fmt::format("{} pictures, tested on {}, CRC-32 {:08x}", data.train->size(), data.test->size(), sum);
  return data;
}

class Mnist : public Task {
 public:
  explicit Mnist(const Settings& s)
      : settings_(s), data_(read_data(s)), model_({1, data_.height, data_.width}, {32, 64}, 128, kClasses) {
    WEFT_CHECK(s.batch <= data_.train->size(), "mnist: --batch {} is more than the {} training pictures", s.batch,
               data_.train->size());
  }

  nn::Module& model() override { return model_; }

  Tensor loss(int64_t index) override {
    // Every pass is a new order; what does not fill a batch at its end is left out.
    const int64_t per_pass = data_.train->size() / settings_.batch, pass = index / per_pass;
    if (pass != pass_) {
      Generator generator(static_cast<uint64_t>(settings_.seed) * 1000003 + static_cast<uint64_t>(pass));
      order_ = randperm(data_.train->size(), {}, &generator);
      pass_ = pass;
    }
    const int64_t* at = weft::detail::host_data<int64_t>(order_) + index % per_pass * settings_.batch;
    const auto [x, y] = batch(*data_.train, {at, at + settings_.batch});
    return cross_entropy(model_(x), y);
  }

  Score evaluate(bool all) override {
    const int64_t n = all ? data_.test->size() : std::min(kEvaluated, data_.test->size());
    double sum = 0;
    int64_t right = 0;
    each_test_batch(n, [&](int64_t, const Tensor& x, const Tensor& y) {
      const Tensor logits = model_(x);
      sum += cross_entropy(logits, y).item<double>() * static_cast<double>(x.size(0));
      right += argmax(logits, 1).eq(y).sum().item<int64_t>();
    });
    return {.loss = sum / static_cast<double>(n), .accuracy = static_cast<double>(right) / static_cast<double>(n)};
  }

  /// Mistakes first, as many as there are up to a quarter, then test pictures in order.
  Shown show() override {
    std::vector<Digit> right, wrong;
    each_test_batch(std::min(kEvaluated, data_.test->size()), [&](int64_t first, const Tensor& x, const Tensor&) {
      const Tensor predicted = argmax(model_(x), 1).cpu();
      for (int64_t i = 0; i < x.size(0); ++i) {
        Digit d{.size = static_cast<int>(data_.height),
                .pixels = std::vector<float>(static_cast<size_t>(data_.height * data_.width)),
                .label = 0,
                .prediction = static_cast<int>(predicted.data<int64_t>()[i])};
        d.label = data_.test->get(first + i, d.pixels.data());
        auto& list = d.label == d.prediction ? right : wrong;
        if (list.size() < kShown) list.push_back(std::move(d));
      }
    });
    Shown shown;
    wrong.resize(std::min(wrong.size(), kShown / 4));
    right.resize(std::min(right.size(), kShown - wrong.size()));
    std::string labels, predictions;
    for (auto* list : {&wrong, &right})
      for (Digit& d : *list) {
        labels += static_cast<char>('0' + d.label);
        predictions += static_cast<char>('0' + d.prediction);
        shown.digits.push_back(std::move(d));
      }
    shown.sample = "digits      " + labels + "\npredictions " + predictions;
    return shown;
  }

  double epochs(int64_t batches) const override {
    return static_cast<double>(batches) / static_cast<double>(data_.train->size() / settings_.batch);
  }
  const char* unit() const override { return "images"; }
  int64_t units_per_batch() const override { return settings_.batch; }
  std::string dataset() const override { return data_.name; }

 private:
  std::pair<Tensor, Tensor> batch(const Pictures& from, const std::vector<int64_t>& which) const {
    const int64_t B = static_cast<int64_t>(which.size()), pixels = data_.height * data_.width;
    Tensor x = empty({B, 1, data_.height, data_.width}), y = empty({B}, {.dtype = DType::i64});
    for (int64_t b = 0; b < B; ++b) {
      float* to = weft::detail::host_data<float>(x) + b * pixels;
      weft::detail::host_data<int64_t>(y)[b] = from.get(which[static_cast<size_t>(b)], to);
      for (int64_t k = 0; k < pixels; ++k) to[k] = (to[k] - kMean) / kDeviation;
    }
    return {x.to(device_), y.to(device_)};
  }

  void each_test_batch(int64_t n, const std::function<void(int64_t first, const Tensor& x, const Tensor& y)>& f) {
    NoGrad guard;
    for (int64_t first = 0; first < n; first += kEvaluationBatch) {
      std::vector<int64_t> which;
      for (int64_t i = first; i < std::min(n, first + kEvaluationBatch); ++i) which.push_back(i);
      const auto [x, y] = batch(*data_.test, which);
      f(first, x, y);
    }
  }

  Settings settings_;
  Device device_{settings_.device};
  Data data_;
  models::Cnn model_;
  int64_t pass_ = -1;
  Tensor order_;
};

}  // namespace

std::unique_ptr<Task> make_mnist(const Settings& s) { return std::make_unique<Mnist>(s); }

}  // namespace weft::demo
