#pragma once
#include <memory>
#include <string>

#include "core/tensor.h"

namespace weft {

namespace formats {
class LogFile;
}

/// Event files for TensorBoard (torch.utils.tensorboard.SummaryWriter): a new file
/// LOG_DIR/events.out.tfevents.TIME.HOST.PID.N per writer, so that a resumed run adds one. Every call reaches the
/// system before it returns.
///
///     SummaryWriter writer("runs/1");
///     writer.add_scalar("loss/train", loss.item<double>(), step);
class SummaryWriter {
 public:
  /// Makes the folder; FileError when it cannot.
  explicit SummaryWriter(const std::string& log_dir);
  ~SummaryWriter();

  void add_scalar(const std::string& tag, double value, int64_t step);
  /// Of all values of a tensor of any dtype and shape, in TensorBoard's buckets; NaN and infinities are left out.
  void add_histogram(const std::string& tag, const Tensor& values, int64_t step);
  /// Markdown.
  void add_text(const std::string& tag, const std::string& text, int64_t step);
  /// Until the disk has it.
  void flush();
  const std::string& path() const;

 private:
  void add_summary(const std::string& value, int64_t step);
  std::unique_ptr<formats::LogFile> file_;
};

}  // namespace weft
