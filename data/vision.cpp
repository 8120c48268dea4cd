#include "data/vision.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <filesystem>
#include <system_error>

#include "core/error.h"
#include "core/ops/shape.h"
#include "data/dataset.h"
#include "data/formats/file.h"
#include "data/idx.h"

namespace weft::data {
namespace {

namespace fs = std::filesystem;

/// The first of `names` in the first of `folders` that there is.
std::string find_file(const std::string& root, const std::vector<std::string>& folders,
                      const std::vector<std::string>& names, const char* what) {
  std::error_code ignored;
  for (const std::string& folder : folders)
    for (const std::string& name : names) {
      const fs::path path = fs::path(root) / folder / name;
      if (fs::exists(path, ignored)) return path.string();
    }
  std::string places;
  for (const std::string& folder : folders) places += (places.empty() ? "" : ", ") + (fs::path(root) / folder).string();
  WEFT_CHECK_FILE(false, "{}: there is no {} in any of: {}", what, names[0], places);
  return {};
}

LabelledImages load_digits(const std::string& root, const char* name, const VisionOptions& o,
                           std::vector<std::string> classes) {
  const std::vector<std::string> folders{"", "raw", std::string(name) + "/raw"};
  const std::string part = o.train ? "train" : "t10k";
  const auto find = [&](const std::string& file) {
    return find_file(root, folders, {part + file, part + file + ".gz"}, name);
  };
  const std::string images_path = find("-images-idx3-ubyte"), labels_path = find("-labels-idx1-ubyte");
  const Tensor images = load_idx(images_path), labels = load_idx(labels_path);
  WEFT_CHECK_FILE(images.dim() == 3 && images.dtype() == DType::u8, "{}: '{}' holds {}, not images", name, images_path,
                  images);
  WEFT_CHECK_FILE(labels.dim() == 1 && labels.size(0) == images.size(0),
                  "{}: '{}' holds {}, not a label for each of {} images", name, labels_path, labels, images.size(0));
  return {images.unsqueeze(1), labels, std::move(classes), o.transform};
}

std::vector<std::string> numbered_classes(int n) {
  std::vector<std::string> out;
  for (int i = 0; i < n; ++i) out.push_back(std::to_string(i));
  return out;
}

LabelledImages load_cifar_set(const std::string& root, const char* name, const char* folder,
                              const std::vector<std::string>& files, int labels, std::vector<std::string> classes,
                              const Transform& transform) {
  std::vector<Tensor> images, targets;
  for (const std::string& file : files) {
    auto [x, y] = load_cifar(find_file(root, {"", folder}, {file}, name), labels, labels == 1 ? 10 : 100);
    images.push_back(std::move(x));
    targets.push_back(std::move(y));
  }
  return {cat(images), cat(targets), std::move(classes), transform};
}

bool is_image(const fs::path& path) {
  std::string ending = path.extension().string();
  std::transform(ending.begin(), ending.end(), ending.begin(), [](unsigned char c) { return std::tolower(c); });
  return ending == ".png" || ending == ".jpg" || ending == ".jpeg";
}

}  // namespace

LabelledImages::LabelledImages(Tensor images, Tensor targets, std::vector<std::string> classes, Transform transform)
    : images_(std::move(images)), classes_(std::move(classes)), transform_(std::move(transform)) {
  WEFT_CHECK(images_.defined() && targets.defined() && images_.dim() == 4 && targets.dim() == 1 &&
                 images_.size(0) == targets.size(0),
             "LabelledImages: expects images [n, channels, height, width] and targets [n], got {} and {}", images_,
             targets);
  targets_ = targets.to(DType::i64).contiguous();
}
std::pair<Tensor, int64_t> LabelledImages::get(int64_t index) const {
  detail::checked_index(index, size(), "LabelledImages");
  const Tensor image = images_.select(0, index);
  return {transform_ ? transform_(image) : image, targets_.data<int64_t>()[index]};
}
std::pair<Tensor, Tensor> LabelledImages::get_batch(std::span<const int64_t> indices) const {
  return {detail::gather_rows(images_, indices), detail::gather_rows(targets_, indices)};
}

MNIST::MNIST(const std::string& root, const VisionOptions& o)
    : LabelledImages(load_digits(root, "MNIST", o, numbered_classes(10))) {}

FashionMNIST::FashionMNIST(const std::string& root, const VisionOptions& o)
    : LabelledImages(load_digits(
          root, "FashionMNIST", o,
          {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"})) {
}

CIFAR10::CIFAR10(const std::string& root, const VisionOptions& o)
    : LabelledImages(load_cifar_set(
          root, "CIFAR10", "cifar-10-batches-bin",
          o.train ? std::vector<std::string>{"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                                             "data_batch_4.bin", "data_batch_5.bin"}
                  : std::vector<std::string>{"test_batch.bin"},
          1, {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"}, o.transform)) {
}

CIFAR100::CIFAR100(const std::string& root, const VisionOptions& o)
    : LabelledImages(load_cifar_set(root, "CIFAR100", "cifar-100-binary", {o.train ? "train.bin" : "test.bin"}, 2,
                                    numbered_classes(100), o.transform)) {}

std::pair<Tensor, Tensor> load_cifar(const std::string& path, int labels, int classes) {
  constexpr uint64_t kPixels = 3 * 32 * 32;
  WEFT_CHECK(labels >= 1 && labels <= 16 && classes >= 1, "load_cifar: needs 1 to 16 label bytes and a class");
  const formats::InputFile file(path);
  const uint64_t record = kPixels + static_cast<uint64_t>(labels), n = file.size() / record;
  WEFT_CHECK_FILE(
      n > 0 && file.size() % record == 0,
      "load_cifar: '{}' has {} bytes, no multiple of the {} of an image; is it truncated, or of the other CIFAR?", path,
      file.size(), record);
  Tensor images = empty({static_cast<int64_t>(n), 3, 32, 32}, {.dtype = DType::u8, .device = DeviceType::cpu});
  Tensor targets = empty({static_cast<int64_t>(n)}, {.dtype = DType::i64, .device = DeviceType::cpu});
  std::array<unsigned char, 16> label{};
  for (uint64_t i = 0; i < n; ++i) {
    file.read(i * record, label.data(), static_cast<uint64_t>(labels));
    const int last = label[static_cast<size_t>(labels - 1)];
    WEFT_CHECK_FILE(last < classes, "load_cifar: '{}' has the label {} at image {}; there are {} classes", path, last,
                    i, classes);
    targets.data<int64_t>()[i] = last;
    file.read(i * record + static_cast<uint64_t>(labels), images.data<uint8_t>() + i * kPixels, kPixels);
  }
  return {images, targets};
}

ImageFolder::ImageFolder(const std::string& root, ImageFolderOptions options) : options_(std::move(options)) {
  std::error_code error;
  for (fs::directory_iterator it(root, error), end; !error && it != end; it.increment(error))
    if (it->is_directory()) classes_.push_back(it->path().filename().string());
  WEFT_CHECK_FILE(!error, "ImageFolder: cannot read the folder '{}': {}", root, error.message());
  WEFT_CHECK_FILE(!classes_.empty(), "ImageFolder: '{}' has no folders; it needs one for each class", root);
  std::sort(classes_.begin(), classes_.end());
  for (size_t c = 0; c < classes_.size(); ++c) {
    const std::string folder = (fs::path(root) / classes_[c]).string();
    const size_t first = samples_.size();
    fs::recursive_directory_iterator it(folder, fs::directory_options::follow_directory_symlink, error), end;
    for (; !error && it != end; it.increment(error)) {
      std::error_code unknown;  // a link to nowhere is no image
      if (!is_image(it->path()) || !it->is_regular_file(unknown)) continue;
      samples_.emplace_back(it->path().string(), static_cast<int64_t>(c));
      if (options_.progress && samples_.size() % 256 == 0) options_.progress(size());
    }
    WEFT_CHECK_FILE(!error, "ImageFolder: cannot read '{}': {}", folder, error.message());
    WEFT_CHECK_FILE(samples_.size() > first, "ImageFolder: there are no .png, .jpg or .jpeg files in '{}'", folder);
    std::sort(samples_.begin() + static_cast<int64_t>(first), samples_.end());
  }
  if (options_.progress) options_.progress(size());
}

std::pair<Tensor, int64_t> ImageFolder::get(int64_t index) const {
  const auto& [path, target] = samples_[static_cast<size_t>(detail::checked_index(index, size(), "ImageFolder"))];
  Tensor image = read_image(path, {.mode = options_.mode});
  return {options_.transform ? options_.transform(image) : image, target};
}

}  // namespace weft::data
