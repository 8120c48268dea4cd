#include "tools/weft/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tools/weft/report_page.h"

namespace weft::demo {
namespace {

constexpr double kWidth = 960, kHeight = 400;
constexpr double kLeft = 56, kRight = 16, kTop = 14, kBottom = 40;  // margins of the plot
constexpr size_t kMostPoints = 1200;

struct Axis {
  double low, high, from, to;  // values, pixels
  double operator()(double v) const { return from + (v - low) / (high - low) * (to - from); }
};

/// Averages of neighbouring rows, so that a long run stays a small page; validation losses are all kept.
std::vector<LossRow> thinned(const std::vector<LossRow>& rows) {
  const size_t every = (rows.size() + kMostPoints - 1) / kMostPoints;
  if (every <= 1) return rows;
  std::vector<LossRow> out;
  double sum = 0;
  size_t count = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    sum += rows[i].train;
    ++count;
    if (count < every && !rows[i].val && i + 1 < rows.size()) continue;
    out.push_back({rows[i].step, sum / static_cast<double>(count), rows[i].val});
    sum = 0;
    count = 0;
  }
  return out;
}

/// The running mean over about a fiftieth of the run.
std::vector<double> smoothed(const std::vector<LossRow>& rows) {
  const double keep = 1 - 1 / std::max(1.0, static_cast<double>(rows.size()) / 50);
  std::vector<double> out;
  double mean = 0, weight = 0;
  for (const LossRow& r : rows) {
    if (std::isfinite(r.train)) {
      mean = keep * mean + (1 - keep) * r.train;
      weight = keep * weight + (1 - keep);
    }
    out.push_back(weight > 0 ? mean / weight : r.train);
  }
  return out;
}

std::pair<double, double> loss_range(const std::vector<LossRow>& rows) {
  double low = HUGE_VAL, high = -HUGE_VAL;
  auto take = [&](double v) {
    if (!std::isfinite(v)) return;
    low = std::min(low, v);
    high = std::max(high, v);
  };
  for (const LossRow& r : rows) {
    take(r.train);
    if (r.val) take(*r.val);
  }
  if (low > high) return {0, 1};
  const double room = std::max((high - low) * 0.05, 1e-3);
  return {std::max(low - room, low >= 0 ? 0.0 : low - room), high + room};
}

std::string points(const std::vector<LossRow>& rows, const std::vector<double>& values, const Axis& x, const Axis& y) {
  std::string out;
  for (size_t i = 0; i < rows.size(); ++i)
    if (std::isfinite(values[i]))
      out += fmt::format("{:.1f},{:.1f} ", x(static_cast<double>(rows[i].step)), y(values[i]));
  return out;
}

std::string chart(const std::vector<LossRow>& rows) {
  const auto [low, high] = loss_range(rows);
  const double first = static_cast<double>(rows.front().step), last = static_cast<double>(rows.back().step);
  const Axis x{first, std::max(last, first + 1), kLeft, kWidth - kRight};
  const Axis y{low, high, kHeight - kBottom, kTop};
  std::string svg = fmt::format("<svg id=\"chart\" viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"loss by step\">\n",
                                kWidth, kHeight);
  for (double v : detail::ticks(low, high, 6))
    svg += fmt::format(
        "<line class=\"grid\" x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/><text x=\"{}\" y=\"{:.1f}\" "
        "class=\"left\">{:g}</text>\n",
        kLeft, kWidth - kRight, y(v), y(v), kLeft - 10, y(v) + 4, v);
  for (double v : detail::ticks(x.low, x.high, 8))
    if (v == std::floor(v))
      svg += fmt::format("<text x=\"{:.1f}\" y=\"{}\">{:g}</text>\n", x(v), kHeight - kBottom + 20, v);
  svg +=
      fmt::format("<text x=\"{}\" y=\"{}\" class=\"axis\">step</text>\n", (kLeft + kWidth - kRight) / 2, kHeight - 4);

  std::vector<double> train;
  std::vector<LossRow> checked;
  std::vector<double> val;
  for (const LossRow& r : rows) {
    train.push_back(r.train);
    if (!r.val) continue;
    checked.push_back(r);
    val.push_back(*r.val);
  }
  if (rows.size() > 60) svg += fmt::format("<polyline class=\"raw\" points=\"{}\"/>\n", points(rows, train, x, y));
  svg += fmt::format("<polyline class=\"train\" points=\"{}\"/>\n",
                     points(rows, rows.size() > 60 ? smoothed(rows) : train, x, y));
  svg += fmt::format("<polyline class=\"val\" points=\"{}\"/>\n", points(checked, val, x, y));
  for (size_t i = 0; i < checked.size(); ++i)
    if (std::isfinite(val[i]))
      svg += fmt::format("<circle class=\"val\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\"/>\n",
                         x(static_cast<double>(checked[i].step)), y(val[i]));
  svg +=
      fmt::format("<line id=\"cursor\" y1=\"{}\" y2=\"{}\" x1=\"-9\" x2=\"-9\"/>\n</svg>\n", kTop, kHeight - kBottom);

  // What the pointer reads: [step, train, val or null], and where a step lies.
  std::string data;
  auto number = [](double v) { return std::isfinite(v) ? fmt::format("{:.5g}", v) : std::string("null"); };
  for (const LossRow& r : rows)
    data +=
        fmt::format("{}[{},{},{}]", data.empty() ? "" : ",", r.step, number(r.train), r.val ? number(*r.val) : "null");
  return svg +
         fmt::format("<p id=\"reading\">&nbsp;</p>\n<script>const rows=[{}],left={},right={},width={};\n{}</script>\n",
                     data, kLeft, kWidth - kRight, kWidth, kPageScript);
}

std::string digits_section(const std::vector<Digit>& digits) {
  std::string out = "<section><h2>Test digits</h2>\n<div class=\"digits\">\n";
  for (const Digit& d : digits) {
    const bool right = d.label == d.prediction;
    out += fmt::format("<figure class=\"{}\"><img src=\"{}\" alt=\"a {}\"><figcaption>{}{}</figcaption></figure>\n",
                       right ? "right" : "wrong", detail::png_url(d.size, d.pixels), d.label, d.prediction,
                       right ? "" : fmt::format(" <small>is {}</small>", d.label));
  }
  return out + "</div></section>\n";
}

}  // namespace

namespace detail {

std::vector<double> ticks(double low, double high, int count) {
  const double rough = (high - low) / count;
  if (!(rough > 0) || !std::isfinite(rough)) return {low};
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (double nice : {1.0, 2.0, 5.0})
    if (nice * power >= rough) {
      step = nice * power;
      break;
    }
  std::vector<double> out;
  for (double i = std::ceil(low / step - 1e-9); i * step <= high * (1 + 1e-12); ++i)
    out.push_back(i * step + 0.0);  // + 0: -0 prints as 0
  return out;
}

std::string html_escape(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else if (c == '"')
      out += "&quot;";
    else
      out += c;
  }
  return out;
}

}  // namespace detail

std::string report_html(const Report& r) {
  using detail::html_escape;
  std::string page = fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
      "content=\"width=device-width\">\n<title>{}</title>\n<style>\n{}</style>\n",
      html_escape(r.title), kPageStyle);
  page += fmt::format("<main>\n<header><h1>{}</h1><p>{}</p></header>\n<div class=\"cards\">\n", html_escape(r.title),
                      html_escape(r.subtitle));
  for (const auto& [what, value] : r.headline)
    page += fmt::format("<div><b>{}</b><span>{}</span></div>\n", html_escape(value), html_escape(what));
  page += "</div>\n";
  if (!r.loss.empty())
    page +=
        "<section><h2>Loss</h2>\n<p class=\"legend\"><i class=\"train\"></i>training <i "
        "class=\"val\"></i>validation</p>\n" +
        chart(thinned(r.loss)) + "</section>\n";
  if (!r.digits.empty()) page += digits_section(r.digits);
  if (!r.sample.empty()) page += "<section><h2>Sample</h2>\n<pre>" + html_escape(r.sample) + "</pre></section>\n";
  page += "<section><h2>Settings</h2>\n<table>\n";
  for (const auto& [what, value] : r.settings)
    page += fmt::format("<tr><th>{}</th><td>{}</td></tr>\n", html_escape(what), html_escape(value));
  return page + "</table></section>\n</main>\n</html>\n";
}

}  // namespace weft::demo
