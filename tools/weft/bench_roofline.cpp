#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>

#include "core/error.h"
#include "core/parallel.h"
#include "tools/weft/bench_cases.h"
#include "tools/weft/bench_ceilings.h"
#include "tools/weft/report.h"
#include "tools/weft/report_page.h"

namespace weft::bench {
namespace {

using nlohmann::json;

struct Row {
  Timed timed;
  Ceiling ceiling;
  double fraction() const { return ceiling.us / timed.us; }
  double of_memory() const { return ceiling.memory_us / timed.us; }
  double speedup() const { return timed.one_thread_us / timed.us; }          // 0: not measured
  double flop_rate() const { return timed.work.flops / timed.us * 1e-3; }    // GFLOP/s
  double byte_rate() const { return timed.work.bytes() / timed.us * 1e-3; }  // GB/s
};

struct Machine {
  int threads = 1;
  double read, copy, triad, write;     // GB/s
  double f32, bf16, f32_one, f32_two;  // GFLOP/s: all threads, one, two
};

Machine measure_machine() {
  const int threads = num_threads();
  Machine m{.threads = threads,
            .read = bandwidth(Pattern::read, kLargeBytes),
            .copy = bandwidth(Pattern::copy, kLargeBytes),
            .triad = bandwidth(Pattern::triad, kLargeBytes),
            .write = bandwidth(Pattern::write, kLargeBytes),
            .f32 = fma_peak(false, threads),
            .bf16 = fma_peak(true, threads),
            .f32_one = fma_peak(false, 1),
            .f32_two = fma_peak(false, 2)};
  return m;
}

double rounded(double x) { return std::round(x * 1000) / 1000; }

json as_json(const Machine& m, const std::vector<Row>& rows) {
  json kernels = json::array();
  for (const Row& r : rows)
    kernels.push_back({{"name", r.timed.name},
                       {"us", rounded(r.timed.us)},
                       {"flops", r.timed.work.flops},
                       {"bytes", r.timed.work.bytes()},
                       {"gb_per_s", rounded(r.byte_rate())},
                       {"gflop_per_s", rounded(r.flop_rate())},
                       {"bound", r.ceiling.bound},
                       {"ceiling_us", rounded(r.ceiling.us)},
                       {"fraction", rounded(r.fraction())},
                       {"memory_fraction", rounded(r.of_memory())},
                       {"speedup", rounded(r.speedup())}});
  return {{"threads", m.threads},
          {"ceilings",
           {{"read_gb_per_s", rounded(m.read)},
            {"copy_gb_per_s", rounded(m.copy)},
            {"triad_gb_per_s", rounded(m.triad)},
            {"write_gb_per_s", rounded(m.write)},
            {"f32_gflop_per_s", rounded(m.f32)},
            {"bf16_gflop_per_s", rounded(m.bf16)},
            {"bf16_dot", has_bf16_dot()},
            {"f32_gflop_per_s_1_thread", rounded(m.f32_one)},
            {"f32_gflop_per_s_2_threads", rounded(m.f32_two)}}},
          {"kernels", kernels}};
}

// Both axes are logarithmic: flops per byte, GFLOP/s.
constexpr double kWidth = 960, kHeight = 520, kLeft = 64, kRight = 20, kTop = 16, kBottom = 44;
struct Axis {
  double low, high, from, to;
  double operator()(double v) const {
    return from + (std::log10(v) - std::log10(low)) / (std::log10(high) - std::log10(low)) * (to - from);
  }
};

const char* color_class(double fraction) { return fraction >= 0.8 ? "fast" : fraction >= 0.5 ? "middle" : "slow"; }

std::string picture(const Machine& m, const std::vector<Row>& rows) {
  double left = 0.05, right = 100, bottom = 1e9;
  for (const Row& r : rows) {
    const double intensity = r.timed.work.flops / r.timed.work.bytes();
    left = std::min(left, intensity / 1.5);
    right = std::max(right, intensity * 1.5);
    bottom = std::min(bottom, r.flop_rate() / 1.5);
  }
  const double peak = std::max(m.f32, m.bf16);
  const Axis x{left, right, kLeft, kWidth - kRight}, y{std::min(bottom, peak / 1e4), peak * 2, kHeight - kBottom, kTop};
  std::string svg = fmt::format(
      "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"roofline: GFLOP/s by flops per byte\">\n", kWidth, kHeight);
  for (double v = std::pow(10, std::ceil(std::log10(y.low))); v <= y.high; v *= 10)
    svg += fmt::format(
        "<line class=\"grid\" x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\"/><text class=\"left\" x=\"{}\" "
        "y=\"{:.1f}\">{:g}</text>\n",
        kLeft, kWidth - kRight, y(v), y(v), kLeft - 8, y(v) + 4, v);
  for (double v = std::pow(10, std::ceil(std::log10(x.low))); v <= x.high; v *= 10)
    svg += fmt::format(
        "<line class=\"grid\" x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{}\" y2=\"{}\"/><text x=\"{:.1f}\" "
        "y=\"{}\">{:g}</text>\n",
        x(v), x(v), kTop, kHeight - kBottom, x(v), kHeight - kBottom + 18, v);
  svg += fmt::format("<text x=\"{}\" y=\"{}\">flops per byte</text>\n", (kLeft + kWidth - kRight) / 2, kHeight - 6);
  // A roof: the slope of a bandwidth up to a peak, then the peak.
  auto roof = [&](const char* what, double gb, double gflop) {
    const double bend = gflop / gb, start = std::max(x.low, y.low / gb);
    svg += fmt::format("<polyline class=\"{}\" points=\"{:.1f},{:.1f} {:.1f},{:.1f} {:.1f},{:.1f}\"/>\n", what,
                       x(start), y(start * gb), x(bend), y(gflop), x(std::max(x.high, bend)), y(gflop));
  };
  roof("train", m.read, m.f32);
  roof("raw", m.triad, m.f32);
  if (has_bf16_dot()) roof("val", m.read, m.bf16);
  svg += fmt::format("<text class=\"left\" x=\"{}\" y=\"{:.1f}\">f32 {:.0f} GFLOP/s</text>\n", kWidth - kRight,
                     y(m.f32) - 6, m.f32);
  if (has_bf16_dot())
    svg += fmt::format("<text class=\"left\" x=\"{}\" y=\"{:.1f}\">bf16 {:.0f} GFLOP/s</text>\n", kWidth - kRight,
                       y(m.bf16) - 6, m.bf16);
  for (const Row& r : rows)
    svg += fmt::format(
        "<circle class=\"{}\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"5\"><title>{}: {:.3g} us, {:.3g} GFLOP/s, {:.3g} GB/s, "
        "{:.0f}% of its ceiling ({})</title></circle>\n",
        color_class(r.fraction()), x(r.timed.work.flops / r.timed.work.bytes()), y(r.flop_rate()),
        demo::detail::html_escape(r.timed.name), r.timed.us, r.flop_rate(), r.byte_rate(), 100 * r.fraction(),
        r.ceiling.bound);
  return svg + "</svg>\n";
}

constexpr std::string_view kStyle = R"(
svg { cursor: default; }
circle { fill-opacity: .8; }
.fast { fill: var(--good); } .middle { fill: var(--val); } .slow { fill: var(--bad); }
.cards b { white-space: nowrap; font-size: 18px; }
table { width: 100%; font-size: 13.5px; }
th, td { padding-right: 16px; }
td + td { white-space: nowrap; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
td meter { width: 90px; }
)";

std::string page(const Machine& m, const std::vector<Row>& rows) {
  std::string out = fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
      "content=\"width=device-width\">\n<title>weft: roofline</title>\n<style>\n{}{}</style>\n<main>\n"
      "<header><h1>Roofline</h1><p>{} threads; what this machine could do at most, measured in the same "
      "run</p></header>\n<div class=\"cards\">\n",
      demo::kPageStyle, kStyle, m.threads);
  auto card = [&](const char* what, double value, const char* unit) {
    out += fmt::format("<div><b>{:.0f} {}</b><span>{}</span></div>\n", value, unit, what);
  };
  card("read", m.read, "GB/s");
  card("copy", m.copy, "GB/s");
  card("triad", m.triad, "GB/s");
  card("FMA, f32", m.f32, "GFLOP/s");
  card(has_bf16_dot() ? "FMA, bf16" : "bf16 as f32", m.bf16, "GFLOP/s");
  out +=
      fmt::format("<div><b>{:.2f} x</b><span>FMA on 2 threads against 1</span></div>\n</div>\n", m.f32_two / m.f32_one);
  out +=
      "<section><h2>Kernels under their roofs</h2>\n<p class=\"legend\"><i class=\"train\"></i>f32 <i "
      "class=\"val\"></i>bf16; a dot is a kernel: green from 80% of its ceiling, orange from 50%, red below. Above the "
      "slope: what fits a cache.</p>\n" +
      picture(m, rows) +
      "</section>\n<section><h2>All</h2>\n<table>\n<tr><th>kernel</th><th class=\"number\">us</th><th "
      "class=\"number\">GB/s</th><th class=\"number\">GFLOP/s</th>"
      "<th>bound</th><th>of its ceiling</th><th class=\"number\">of memory's</th><th class=\"number\">against 1 "
      "thread</th></tr>\n";
  for (const Row& r : rows)
    out += fmt::format(
        "<tr><td>{}</td><td class=\"number\">{:.1f}</td><td class=\"number\">{:.1f}</td><td "
        "class=\"number\">{:.1f}</td>"
        "<td>{}</td><td><meter value=\"{:.3f}\" low=\"0.5\" high=\"0.8\" optimum=\"1\"></meter> {:.2f}</td>"
        "<td class=\"number\">{:.2f}</td><td class=\"number\">{}</td></tr>\n",
        demo::detail::html_escape(r.timed.name), r.timed.us, r.byte_rate(), r.flop_rate(), r.ceiling.bound,
        std::min(r.fraction(), 1.0), r.fraction(), r.of_memory(),
        r.speedup() > 0 ? fmt::format("{:.2f} x", r.speedup()) : "");
  return out +
         "</table>\n<p><small>Bytes: every input read once, every output written once. Bandwidth ceilings are those of "
         "arrays as large as the case; \"of memory's\" is against arrays that no cache holds. Pointwise ops count a "
         "few flops per element, an exp one.</small></p></section>\n"
         "</main>\n</html>\n";
}

void write(const std::string& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  out << text;
  out.close();
  WEFT_CHECK_FILE(out.good(), "{}: cannot be written", path);
}

}  // namespace

int run_roofline(const RooflineOptions& o) {
  const json cases = cases_of(o.kernels);
  const Machine m = measure_machine();
  fmt::print("ceilings, {} threads: read {:.1f}, copy {:.1f}, triad {:.1f}, write {:.1f} GB/s (memory)\n", m.threads,
             m.read, m.copy, m.triad, m.write);
  fmt::print("FMA f32 {:.0f} GFLOP/s, bf16 {:.0f}{}; registers only on 1 thread {:.0f}, on 2 {:.0f} ({:.2f} x)\n\n",
             m.f32, m.bf16, has_bf16_dot() ? "" : " (as f32)", m.f32_one, m.f32_two, m.f32_two / m.f32_one);
  fmt::print("{:<52}{:>11}{:>9}{:>10}  {:<8}{:>9}{:>11}{:>11}\n", "kernel", "us", "GB/s", "GFLOP/s", "bound",
             "fraction", "of memory", "1 thread");
  std::vector<Row> rows;
  KernelOptions options = o.kernels;
  options.one_thread = m.threads > 1;
  time_cases(cases, options, [&](const Timed& t) {
    if (t.overhead || t.work.bytes() == 0) return;  // the time of a call, which no bandwidth bounds
    const Row r{t, ceiling_of(t.work)};
    fmt::print("{:<52}{:>11.1f}{:>9.1f}{:>10.1f}  {:<8}{:>9.2f}{:>11.2f}{:>11}\n", t.name, t.us, r.byte_rate(),
               r.flop_rate(), r.ceiling.bound, r.fraction(), r.of_memory(),
               r.speedup() > 0 ? fmt::format("{:.2f} x", r.speedup()) : "");
    std::fflush(stdout);
    rows.push_back(r);
  });
  if (!o.json.empty()) write(o.json, as_json(m, rows).dump(1) + "\n");
  if (!o.html.empty()) write(o.html, page(m, rows));
  return 0;
}

}  // namespace weft::bench
