#include "tools/weft/report.h"

#include <cmath>
#include <set>

#include "tests/catch.h"
#include "tools/weft/demo_digits.h"
#include "tools/weft/demo_progress.h"

using namespace weft::demo;

namespace {

size_t count(const std::string& text, const std::string& part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
  return n;
}

}  // namespace

TEST_CASE("report: round ticks inside the range") {
  CHECK(detail::ticks(0, 10, 5) == std::vector<double>{0, 2, 4, 6, 8, 10});
  CHECK(detail::ticks(1.3, 4.4, 6) == std::vector<double>{2, 3, 4});
  CHECK(detail::ticks(3, 3, 6) == std::vector<double>{3});
  CHECK(detail::ticks(-0.3, 0.3, 3).size() == 3);
  CHECK_FALSE(std::signbit(detail::ticks(-0.3, 1, 3)[0]));
}

TEST_CASE("report: text is escaped") {
  Report r;
  r.title = "a & b";
  r.sample = "if (x < y && \"z\") <script>";
  const std::string page = report_html(r);
  CHECK(count(page, "<title>a &amp; b</title>") == 1);
  CHECK(count(page, "if (x &lt; y &amp;&amp; &quot;z&quot;) &lt;script&gt;") == 1);
  CHECK(count(page, "<script>") == 0);  // no losses, no chart
}

TEST_CASE("report: a long run stays a small page and keeps every validation loss") {
  Report r;
  for (int64_t i = 1; i <= 100000; ++i)
    r.loss.push_back({i, 1.0 / static_cast<double>(i), i % 5000 == 0 ? std::optional(0.5) : std::nullopt});
  const std::string page = report_html(r);
  CHECK(page.size() < 200000);
  CHECK(count(page, "<circle") == 20);
}

TEST_CASE("report: losses that are no numbers leave a gap") {
  Report r;
  r.loss = {{1, 2.0, 2.0}, {2, std::nan(""), {}}, {3, HUGE_VAL, HUGE_VAL}, {4, 1.0, 1.0}};
  const std::string page = report_html(r);
  CHECK(count(page, "nan") == 0);
  CHECK(count(page, "inf") == 0);
  CHECK(count(page, "<circle") == 2);
}

TEST_CASE("report: digits are pictures, mistakes are marked") {
  Report r;
  r.digits = {{2, {0, 1, 0.5F, 2}, 3, 3}, {2, {0, 0, 0, 0}, 4, 9}};
  const std::string page = report_html(r);
  CHECK(count(page, "src=\"data:image/png;base64,iVBORw0KGgo") == 2);
  CHECK(count(page, "class=\"right\"") == 1);
  CHECK(count(page, "9 <small>is 4</small>") == 1);
}

TEST_CASE("digits: a function of seed and number, all ten occur") {
  std::vector<float> a(kDigitSize * kDigitSize), b(a.size()), c(a.size());
  std::set<int> seen;
  for (uint64_t i = 0; i < 200; ++i) {
    const int digit = draw_digit(7, i, a.data());
    CHECK(draw_digit(7, i, b.data()) == digit);
    CHECK(a == b);
    draw_digit(8, i, c.data());
    CHECK(a != c);
    seen.insert(digit);
    double ink = 0;
    for (float v : a) {
      CHECK((v >= 0 && v <= 1));
      ink += v;
    }
    CHECK(ink > 15);
    CHECK(ink < 300);
  }
  CHECK(seen.size() == 10);
}

TEST_CASE("progress: numbers as people write them") {
  CHECK(with_commas(0) == "0");
  CHECK(with_commas(999) == "999");
  CHECK(with_commas(1234567.4) == "1,234,567");
  CHECK(clock_text(59.2) == "1:00");
  CHECK(clock_text(3725) == "1:02:05");
  CHECK(rate_text(0.001) == "0.001");
  CHECK(rate_text(0.00095) == "9.5e-04");
}
