#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/tensor.h"
#include "data/image.h"

namespace weft::data {

/// What becomes of an image before it is put into a batch: data/transforms.h, or any function.
using Transform = std::function<Tensor(const Tensor&)>;

/// Images with classes, in memory. Sample: image u8 [channels, height, width], or what `transform` makes of it, and
/// class. Without a transform batches are gathered at once: u8 [batch, channels, height, width] and i64 [batch].
class LabelledImages {
 public:
  /// images: u8 [n, channels, height, width]; targets: integers [n]. weft::Error when they do not match.
  LabelledImages(Tensor images, Tensor targets, std::vector<std::string> classes, Transform transform = {});
  int64_t size() const { return images_.size(0); }
  std::pair<Tensor, int64_t> get(int64_t index) const;
  std::pair<Tensor, Tensor> get_batch(std::span<const int64_t> indices) const;
  bool gathers() const { return !transform_; }
  const Tensor& images() const { return images_; }
  /// i64.
  const Tensor& targets() const { return targets_; }
  const std::vector<std::string>& classes() const { return classes_; }

 private:
  Tensor images_, targets_;
  std::vector<std::string> classes_;
  Transform transform_;
};

struct VisionOptions {
  bool train = true;
  Transform transform = {};
};

/// Digits, 28 x 28 gray, from the IDX files (.gz or not) in `root`, `root`/raw or `root`/MNIST/raw. Nothing is
/// downloaded: FileError naming what was looked for.
class MNIST : public LabelledImages {
 public:
  explicit MNIST(const std::string& root, const VisionOptions& options = {});
};
/// Clothes in the same format, also under `root`/FashionMNIST/raw.
class FashionMNIST : public LabelledImages {
 public:
  explicit FashionMNIST(const std::string& root, const VisionOptions& options = {});
};
/// 32 x 32 RGB in ten classes, from the binary version: data_batch_1.bin .. 5 and test_batch.bin, in `root` or
/// `root`/cifar-10-batches-bin.
class CIFAR10 : public LabelledImages {
 public:
  explicit CIFAR10(const std::string& root, const VisionOptions& options = {});
};
/// The same in a hundred (fine) classes: train.bin and test.bin, in `root` or `root`/cifar-100-binary.
class CIFAR100 : public LabelledImages {
 public:
  explicit CIFAR100(const std::string& root, const VisionOptions& options = {});
};

/// Records of CIFAR's binary format: u8 [n, 3, 32, 32] and the last of `labels` label bytes of each, i64 [n]. FileError
/// when the size is no multiple of a record, or a label is not below `classes`.
std::pair<Tensor, Tensor> load_cifar(const std::string& path, int labels, int classes);

struct ImageFolderOptions {
  Transform transform = {};
  ImageMode mode = ImageMode::rgb;
  /// Called with the number of images found so far, every few hundred files, while folders are read.
  std::function<void(int64_t)> progress = {};
};

/// PNG and JPEG files (.png, .jpg, .jpeg) in a folder for each class, at any depth; classes are the names of the
/// folders, sorted. Sample: the image, u8 or transformed, and its class. FileError where there is no class or one
/// without images.
class ImageFolder {
 public:
  explicit ImageFolder(const std::string& root, ImageFolderOptions options = {});
  int64_t size() const { return static_cast<int64_t>(samples_.size()); }
  std::pair<Tensor, int64_t> get(int64_t index) const;
  const std::vector<std::string>& classes() const { return classes_; }
  /// Path and class of each sample.
  const std::vector<std::pair<std::string, int64_t>>& samples() const { return samples_; }

 private:
  ImageFolderOptions options_;
  std::vector<std::string> classes_;
  std::vector<std::pair<std::string, int64_t>> samples_;
};

}  // namespace weft::data
