#include "data/tensorboard.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <vector>

#include "core/error.h"
#include "core/thread_state.h"
#include "data/formats/bytes.h"
#include "data/formats/log_file.h"
#include "data/formats/tfrecord.h"

namespace weft {
namespace {

using formats::Protobuf;

double now() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

/// Upper limits of TensorBoard's buckets: powers of 1.1 on both sides of 0.
const std::vector<double>& bucket_limits() {
  static const std::vector<double> limits = [] {
    std::vector<double> v;
    for (double limit = 1e-12; limit < 1e20; limit *= 1.1) v.push_back(limit);
    std::vector<double> all(v.rbegin(), v.rend());
    for (double& limit : all) limit = -limit;
    all.push_back(0);
    all.insert(all.end(), v.begin(), v.end());
    return all;
  }();
  return limits;
}

Protobuf histogram(const Tensor& values) {
  const NoGrad guard;
  const Tensor flat = values.detach().cpu().to(DType::f64).contiguous();
  const auto& limits = bucket_limits();
  std::vector<double> counts(limits.size());
  double least = INFINITY, largest = -INFINITY, number = 0, sum = 0, squares = 0;
  for (int64_t i = 0; i < flat.numel(); ++i) {
    const double v = flat.data<double>()[i];
    if (!std::isfinite(v)) continue;
    least = std::min(least, v);
    largest = std::max(largest, v);
    ++number;
    sum += v;
    squares += v * v;
    const auto bucket = std::lower_bound(limits.begin(), limits.end(), v) - limits.begin();
    ++counts[static_cast<size_t>(std::min<std::ptrdiff_t>(bucket, static_cast<std::ptrdiff_t>(limits.size()) - 1))];
  }
  if (number == 0) least = largest = 0;
  // Empty buckets at both ends are left out, but for one in front, which gives the first its lower limit.
  size_t first = 0, last = counts.size();
  while (first < last && counts[first] == 0) ++first;
  while (last > first && counts[last - 1] == 0) --last;
  if (first > 0 && first < last) --first;
  Protobuf h;
  h.number(1, least).number(2, largest).number(3, number).number(4, sum).number(5, squares);
  h.numbers(6, {limits.data() + first, last - first}).numbers(7, {counts.data() + first, last - first});
  return h;
}

}  // namespace

SummaryWriter::SummaryWriter(const std::string& log_dir) {
  std::error_code error;
  std::filesystem::create_directories(log_dir, error);
  WEFT_CHECK_FILE(!error, "SummaryWriter: cannot make the folder '{}': {}", log_dir, error.message());
  static std::atomic<unsigned> counter{0};
  char host[256] = "";
  ::gethostname(host, sizeof host - 1);
  const std::string name =
      fmt::format("events.out.tfevents.{:010}.{}.{}.{}", static_cast<int64_t>(now()), host, ::getpid(), counter++);
  file_ = std::make_unique<formats::LogFile>((std::filesystem::path(log_dir) / name).string());
  file_->append(formats::tfrecord(Protobuf().number(1, now()).text(3, "brain.Event:2").bytes()));
}
SummaryWriter::~SummaryWriter() = default;

void SummaryWriter::add_summary(const std::string& value, int64_t step) {
  const std::string summary = Protobuf().text(1, value).bytes();
  file_->append(formats::tfrecord(Protobuf().number(1, now()).integer(2, step).text(5, summary).bytes()));
}

void SummaryWriter::add_scalar(const std::string& tag, double value, int64_t step) {
  add_summary(Protobuf().text(1, tag).single(2, static_cast<float>(value)).bytes(), step);
}

void SummaryWriter::add_histogram(const std::string& tag, const Tensor& values, int64_t step) {
  WEFT_CHECK(values.defined(), "add_histogram: an undefined tensor");
  add_summary(Protobuf().text(1, tag).text(5, histogram(values).bytes()).bytes(), step);
}

void SummaryWriter::add_text(const std::string& tag, const std::string& text, int64_t step) {
  constexpr int64_t kString = 7;  // DT_STRING
  const std::string plugin = Protobuf().text(1, "text").bytes(), metadata = Protobuf().text(1, plugin).bytes();
  const std::string shape = Protobuf().text(2, Protobuf().integer(1, 1).bytes()).bytes();
  const std::string tensor = Protobuf().integer(1, kString).text(2, shape).text(8, text).bytes();
  add_summary(Protobuf().text(1, tag + "/text_summary").text(8, tensor).text(9, metadata).bytes(), step);
}

void SummaryWriter::flush() { file_->sync(); }
const std::string& SummaryWriter::path() const { return file_->path(); }

}  // namespace weft
