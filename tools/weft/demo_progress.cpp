#include "tools/weft/demo_progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string_view>

namespace weft::demo {
namespace {

constexpr auto kRedraw = std::chrono::milliseconds(80);
constexpr auto kLine = std::chrono::seconds(5);

bool utf8_terminal() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const char* value = std::getenv(name);
    if (value && *value)
      return std::string_view(value).find("UTF-8") != std::string_view::npos ||
             std::string_view(value).find("utf8") != std::string_view::npos;
  }
  return false;
}

int terminal_width() {
  winsize size{};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

std::string repeat(const char* text, int n) {
  std::string out;
  for (int i = 0; i < n; ++i) out += text;
  return out;
}

}  // namespace

std::string with_commas(double v) {
  if (!std::isfinite(v)) return "-";
  std::string digits = fmt::format("{:.0f}", std::fabs(v));
  for (size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, ",");
  return (v < 0 ? "-" : "") + digits;
}

std::string clock_text(double seconds) {
  if (!std::isfinite(seconds)) return "-";
  const auto s = static_cast<int64_t>(std::ceil(seconds));
  if (s >= 3600) return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
  return fmt::format("{}:{:02}", s / 60, s % 60);
}

std::string rate_text(double v) { return v != 0 && v < 1e-3 ? fmt::format("{:.1e}", v) : fmt::format("{:.3g}", v); }

Progress::Progress(int64_t first, int64_t steps, std::string unit, bool quiet)
    : first_(first), steps_(steps), unit_(std::move(unit)), quiet_(quiet), terminal_(isatty(STDOUT_FILENO) == 1) {}

void Progress::step(const LossRow& row, double lr, double speed, double seconds_per_step) {
  if (quiet_) return;
  const Clock::time_point now = Clock::now();
  const bool last = row.step == steps_;
  const double left = seconds_per_step * static_cast<double>(steps_ - row.step);
  if (row.val || (!terminal_ && (row.step == first_ + 1 || now - last_ >= kLine))) {
    clear();
    fmt::print("step {:>{}}/{}  loss {:.4f}", row.step, std::to_string(steps_).size(), steps_, row.train);
    if (row.val) fmt::print("  val {:.4f}", *row.val);
    fmt::print("  lr {:<7}  {} {}/s{}\n", rate_text(lr), with_commas(speed), unit_,
               last ? "" : "  ETA " + clock_text(left));
    std::fflush(stdout);
    if (!terminal_) last_ = now;
  }
  if (terminal_ && !last && now - last_ >= kRedraw) {
    draw(row, speed, left);
    last_ = now;
  }
}

void Progress::draw(const LossRow& row, double speed, double left) {
  static const bool utf8 = utf8_terminal();
  const std::string tail = fmt::format(" {}/{}  loss {:.4f}  {} {}/s  ETA {}", row.step, steps_, row.train,
                                       with_commas(speed), unit_, clock_text(left));
  const int room = std::clamp(terminal_width() - static_cast<int>(tail.size()) - 1, 0, 40);
  const int full = static_cast<int>(static_cast<double>(row.step) / static_cast<double>(steps_) * room);
  const std::string bar = utf8 ? repeat("━", full) + "\x1b[2m" + repeat("━", room - full) + "\x1b[0m"
                               : repeat("#", full) + repeat(".", room - full);
  fmt::print("\r{}{}\x1b[K", bar, tail);
  std::fflush(stdout);
  shown_ = true;
}

void Progress::clear() {
  if (!shown_) return;
  fmt::print("\r\x1b[K");
  std::fflush(stdout);
  shown_ = false;
}

}  // namespace weft::demo
