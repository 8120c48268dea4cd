#include "tools/weft/demo_digits.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>
#include <vector>

#include "core/ops/philox.h"

namespace weft::demo {
namespace {

struct Point {
  float x, y;
};
/// A part of an ellipse (degrees, clockwise from the right, y grows downwards); a straight line where to_y is set.
struct Piece {
  bool line;
  float a, b, c, d;  // line: from (a, b) to (c, d); arc: centre (a, b), radii (c, d)
  float from = 0, to = 0;
  bool joins = true;  ///< goes on from where the piece before ended
};

constexpr Piece line(float x0, float y0, float x1, float y1, bool joins = true) {
  return {true, x0, y0, x1, y1, 0, 0, joins};
}
constexpr Piece arc(float x, float y, float rx, float ry, float from, float to, bool joins = true) {
  return {false, x, y, rx, ry, from, to, joins};
}

// The box is [0, 1] x [0, 1].
constexpr Piece kZero[] = {arc(.5F, .5F, .32F, .5F, -90, 275, false)};
constexpr Piece kSlimZero[] = {arc(.5F, .5F, .24F, .5F, -70, 290, false)};
constexpr Piece kOne[] = {line(.5F, 0, .5F, 1, false)};
constexpr Piece kFlagOne[] = {line(.3F, .25F, .52F, 0, false), line(.52F, 0, .52F, 1)};
constexpr Piece kFootOne[] = {line(.28F, .24F, .5F, 0, false), line(.5F, 0, .5F, 1), line(.28F, 1, .72F, 1, false)};
constexpr Piece kTwo[] = {arc(.5F, .28F, .3F, .28F, -170, 30, false), line(.76F, .42F, .18F, 1),
                          line(.18F, 1, .84F, 1)};
constexpr Piece kLoopTwo[] = {arc(.48F, .27F, .28F, .27F, -160, 60, false), line(.62F, .5F, .3F, .88F),
                              arc(.3F, .9F, .12F, .1F, -60, -330), line(.4F, .9F, .85F, .98F)};
constexpr Piece kThree[] = {arc(.45F, .25F, .28F, .25F, -150, 90, false), arc(.45F, .74F, .32F, .26F, -90, 150)};
constexpr Piece kFlatThree[] = {line(.2F, .02F, .76F, .02F, false), line(.76F, .02F, .44F, .4F),
                                arc(.44F, .7F, .32F, .3F, -90, 145)};
constexpr Piece kFour[] = {line(.6F, 0, .15F, .66F, false), line(.15F, .66F, .88F, .66F),
                           line(.64F, .3F, .64F, 1, false)};
constexpr Piece kOpenFour[] = {line(.2F, .05F, .2F, .5F, false), line(.2F, .5F, .8F, .5F),
                               line(.8F, 0, .74F, 1, false)};
constexpr Piece kFive[] = {line(.8F, .02F, .28F, .02F, false), line(.28F, .02F, .24F, .44F),
                           arc(.45F, .69F, .34F, .3F, -128, 145)};
constexpr Piece kSix[] = {arc(.95F, .62F, .76F, .62F, -105, -180, false), arc(.5F, .71F, .31F, .29F, 180, -185)};
constexpr Piece kStraightSix[] = {line(.62F, 0, .22F, .62F, false), arc(.5F, .72F, .3F, .28F, 195, -170)};
constexpr Piece kSeven[] = {line(.16F, .02F, .84F, .02F, false), line(.84F, .02F, .4F, 1)};
constexpr Piece kBarSeven[] = {line(.16F, .04F, .82F, .02F, false), line(.82F, .02F, .42F, 1),
                               line(.34F, .5F, .78F, .5F, false)};
constexpr Piece kEight[] = {arc(.5F, .25F, .25F, .25F, 90, -270, false), arc(.5F, .75F, .31F, .25F, -90, 270)};
constexpr Piece kNine[] = {arc(.5F, .29F, .29F, .29F, -10, -370, false), line(.79F, .3F, .7F, 1)};
constexpr Piece kRoundNine[] = {arc(.5F, .28F, .28F, .28F, -10, -370, false), arc(.1F, .35F, .69F, .65F, -5, 68)};

struct Shape {
  int digit;
  std::span<const Piece> pieces;
};
constexpr Shape kShapes[] = {{0, kZero},     {0, kSlimZero}, {1, kOne},   {1, kFlagOne},     {1, kFootOne},
                             {2, kTwo},      {2, kLoopTwo},  {3, kThree}, {3, kFlatThree},   {4, kFour},
                             {4, kOpenFour}, {5, kFive},     {6, kSix},   {6, kStraightSix}, {7, kSeven},
                             {7, kBarSeven}, {8, kEight},    {9, kNine},  {9, kRoundNine}};

/// Numbers of one picture: a function of (seed, index) and how many were taken.
class Dice {
 public:
  Dice(uint64_t seed, uint64_t index) : seed_(seed), index_(index) {}
  uint32_t word() {
    if (left_ == 0) {
      words_ = rng::philox(seed_, index_, lane_++);
      left_ = 4;
    }
    return words_.w[--left_];
  }
  float uniform(float low, float high) { return low + (high - low) * rng::unit(word()); }
  uint32_t below(uint32_t n) { return static_cast<uint32_t>(uint64_t{word()} * n >> 32); }

 private:
  uint64_t seed_, index_, lane_ = 0;
  rng::Words words_{};
  int left_ = 0;
};

using Stroke = std::vector<Point>;

std::vector<Stroke> strokes_of(std::span<const Piece> pieces, Dice& dice) {
  constexpr int kArcSteps = 16;
  constexpr float kWaver = 0.035F;
  auto waver = [&] { return dice.uniform(-kWaver, kWaver); };
  std::vector<Stroke> strokes;
  for (Piece p : pieces) {
    if (!p.joins) strokes.emplace_back();
    Stroke& stroke = strokes.back();
    p.a += waver(), p.b += waver(), p.c += waver(), p.d += waver();
    if (p.line) {
      if (!p.joins) stroke.push_back({p.a, p.b});
      stroke.push_back({p.c, p.d});
      continue;
    }
    const float stretch = dice.uniform(-12, 12);
    for (int i = 0; i <= kArcSteps; ++i) {
      const float degrees = p.from + (p.to + stretch - p.from) * static_cast<float>(i) / kArcSteps;
      const float angle = degrees * std::numbers::pi_v<float> / 180;
      stroke.push_back({p.a + p.c * std::cos(angle), p.b + p.d * std::sin(angle)});
    }
  }
  return strokes;
}

/// A random affine map from the box to pixels.
struct Placement {
  float xx, xy, yx, yy, x, y;
  explicit Placement(Dice& dice) {
    const float angle = dice.uniform(-0.22F, 0.22F), shear = dice.uniform(-0.25F, 0.25F);
    const float width = dice.uniform(13, 20), height = dice.uniform(16, 21);
    const float c = std::cos(angle), s = std::sin(angle);
    xx = c * width, xy = (-s + c * shear) * height;
    yx = s * width, yy = (c + s * shear) * height;
    constexpr float kMiddle = kDigitSize / 2.0F;
    x = kMiddle + dice.uniform(-2, 2);
    y = kMiddle + dice.uniform(-2, 2);
  }
  Point operator()(Point p) const {
    const float u = p.x - 0.5F, v = p.y - 0.5F;
    return {x + xx * u + xy * v, y + yx * u + yy * v};
  }
};

/// Lays ink along the line from a to b: full within `radius`, fading over one pixel.
void ink(Point a, Point b, float radius, float strength, float* out) {
  const float dx = b.x - a.x, dy = b.y - a.y, length2 = std::max(dx * dx + dy * dy, 1e-6F);
  auto first = [&](float v) { return std::clamp(static_cast<int>(v - radius - 1), 0, kDigitSize - 1); };
  auto last = [&](float v) { return std::clamp(static_cast<int>(v + radius + 1), 0, kDigitSize - 1); };
  for (int y = first(std::min(a.y, b.y)); y <= last(std::max(a.y, b.y)); ++y) {
    for (int x = first(std::min(a.x, b.x)); x <= last(std::max(a.x, b.x)); ++x) {
      const float px = static_cast<float>(x) + 0.5F - a.x, py = static_cast<float>(y) + 0.5F - a.y;
      const float t = std::clamp((px * dx + py * dy) / length2, 0.0F, 1.0F);
      const float distance = std::hypot(px - t * dx, py - t * dy);
      float& pixel = out[y * kDigitSize + x];
      pixel = std::max(pixel, strength * std::clamp(radius + 0.5F - distance, 0.0F, 1.0F));
    }
  }
}

}  // namespace

int draw_digit(uint64_t seed, uint64_t index, float* out) {
  Dice dice(seed, index);
  const int digit = static_cast<int>(dice.below(10));
  std::vector<const Shape*> ways;
  for (const Shape& s : kShapes)
    if (s.digit == digit) ways.push_back(&s);
  const Shape& shape = *ways[dice.below(static_cast<uint32_t>(ways.size()))];
  const Placement place(dice);
  const float radius = dice.uniform(0.7F, 1.5F), strength = dice.uniform(0.8F, 1.0F);
  std::fill_n(out, kDigitSize * kDigitSize, 0.0F);
  for (const Stroke& stroke : strokes_of(shape.pieces, dice))
    for (size_t i = 1; i < stroke.size(); ++i) ink(place(stroke[i - 1]), place(stroke[i]), radius, strength, out);
  const float noise = dice.uniform(0, 0.12F);
  for (int i = 0; i < kDigitSize * kDigitSize; ++i)
    out[i] = std::clamp(out[i] + dice.uniform(-noise, noise), 0.0F, 1.0F);
  return digit;
}

}  // namespace weft::demo
