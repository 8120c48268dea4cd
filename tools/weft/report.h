#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// The page that a training run leaves behind: one HTML file that needs nothing else, light or dark as the reader's
// system is.
namespace weft::demo {

/// One training step: the loss of its batch, and the validation loss where it was taken.
struct LossRow {
  int64_t step = 0;
  double train = 0;
  std::optional<double> val = {};
};

/// A picture of size x size values in [0, 1], what it shows and what the model took it for.
struct Digit {
  int size = 0;
  std::vector<float> pixels;
  int label = 0, prediction = 0;
};

struct Report {
  std::string title, subtitle;
  std::vector<std::pair<std::string, std::string>> headline;  ///< few: the figures that count, as (what, value)
  std::vector<LossRow> loss;
  std::string sample;         ///< text; no section when empty
  std::vector<Digit> digits;  ///< no section when empty
  std::vector<std::pair<std::string, std::string>> settings;
};

std::string report_html(const Report& report);

namespace detail {
/// Round numbers that cover [low, high], about `count` of them.
std::vector<double> ticks(double low, double high, int count);
std::string html_escape(std::string_view text);
/// A grey PNG of size x size values in [0, 1], as a data: URL.
std::string png_url(int size, const std::vector<float>& pixels);
}  // namespace detail

}  // namespace weft::demo
