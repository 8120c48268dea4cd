#include "tools/weft/demo_schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "optim/schedule.h"
#include "optim/schedule_cycle.h"
#include "optim/schedule_plateau.h"

namespace weft::demo {
namespace {

constexpr int64_t kWarmup = 100;
constexpr double kLeastRate = 0.1;  // of lr, at the end of the cosine
constexpr double kDrop = 0.1;       // at each drop of the step schedule
constexpr double kMostSteps = 1e12;

/// What the defaults of a key depend on.
struct Run {
  int64_t steps;
  double lr;
};
using Numbers = std::vector<double>;
struct Key {
  const char* name;
  std::function<Numbers(const Run&)> fallback;
  double least = -INFINITY, most = INFINITY;
  bool whole = false;  ///< integers only
};
/// Values in the order of the keys.
class Values {
 public:
  explicit Values(const std::vector<Numbers>& values) : values_(values) {}
  double real(size_t key) const { return values_[key][0]; }
  int64_t integer(size_t key) const { return static_cast<int64_t>(values_[key][0]); }
  std::vector<int64_t> integers(size_t key) const { return {values_[key].begin(), values_[key].end()}; }

 private:
  const std::vector<Numbers>& values_;
};
struct Kind {
  std::string_view name;
  std::vector<Key> keys;
  std::function<std::unique_ptr<optim::Scheduler>(optim::Optimizer&, const Values&)> make;
};

Key number(const char* name, double v, double least = -INFINITY, double most = INFINITY) {
  return {name, [v](const Run&) { return Numbers{v}; }, least, most, false};
}
Key count(const char* name, double v) {
  return {name, [v](const Run&) { return Numbers{v}; }, 1, kMostSteps, true};
}
/// A part of the run's steps.
Key length(const char* name, double part) {
  return {name, [part](const Run& r) { return Numbers{std::max(1.0, std::ceil(part * static_cast<double>(r.steps)))}; },
          1, kMostSteps, true};
}
/// A multiple of --lr.
Key rate(const char* name, double part) {
  return {name, [part](const Run& r) { return Numbers{part * r.lr}; }, 0, INFINITY, false};
}

const std::vector<Kind>& kinds() {
  using optim::Optimizer;
  using std::make_unique;
  static const std::vector<Kind> all = {
      {"StepLR",
       {length("step_size", 1.0 / 3), number("gamma", 0.1, 0)},
       [](Optimizer& o, const Values& v) { return make_unique<optim::StepLR>(o, v.integer(0), v.real(1)); }},
      {"MultiStepLR",
       {{"milestones",
         [](const Run& r) {
           return Numbers{std::ceil(0.5 * double(r.steps)), std::ceil(0.75 * double(r.steps))};
         },
         0, kMostSteps, true},
        number("gamma", 0.1, 0)},
       [](Optimizer& o, const Values& v) { return make_unique<optim::MultiStepLR>(o, v.integers(0), v.real(1)); }},
      {"ConstantLR",
       {number("factor", 1.0 / 3, 0, 1), count("total_iters", 5)},
       [](Optimizer& o, const Values& v) { return make_unique<optim::ConstantLR>(o, v.real(0), v.integer(1)); }},
      {"LinearLR",
       {number("start_factor", 1.0 / 3, 1e-12, 1), number("end_factor", 1, 0, 1), count("total_iters", 5)},
       [](Optimizer& o, const Values& v) {
         return make_unique<optim::LinearLR>(
             o,
             optim::LinearLROptions{.start_factor = v.real(0), .end_factor = v.real(1), .total_iters = v.integer(2)});
       }},
      {"ExponentialLR",
       {{"gamma", [](const Run& r) { return Numbers{std::pow(kDrop, 1 / double(r.steps))}; }, 0, INFINITY, false}},
       [](Optimizer& o, const Values& v) { return make_unique<optim::ExponentialLR>(o, v.real(0)); }},
      {"PolynomialLR",
       {length("total_iters", 1), number("power", 1, 0)},
       [](Optimizer& o, const Values& v) { return make_unique<optim::PolynomialLR>(o, v.integer(0), v.real(1)); }},
      {"CosineAnnealingLR",
       {length("T_max", 1), number("eta_min", 0, 0)},
       [](Optimizer& o, const Values& v) { return make_unique<optim::CosineAnnealingLR>(o, v.integer(0), v.real(1)); }},
      {"CosineAnnealingWarmRestarts",
       {length("T_0", 1.0 / 3), count("T_mult", 1), number("eta_min", 0, 0)},
       [](Optimizer& o, const Values& v) {
         return make_unique<optim::CosineAnnealingWarmRestarts>(o, v.integer(0), v.integer(1), v.real(2));
       }},
      {"CyclicLR",
       {rate("base_lr", 0.1), rate("max_lr", 1), length("step_size_up", 0.1)},
       [](Optimizer& o, const Values& v) {
         return make_unique<optim::CyclicLR>(
             o, optim::CyclicLROptions{.base_lr = v.real(0), .max_lr = v.real(1), .step_size_up = v.integer(2)});
       }},
      {"OneCycleLR",
       {rate("max_lr", 1), length("total_steps", 1), number("pct_start", 0.3, 0, 1)},
       [](Optimizer& o, const Values& v) {
         return make_unique<optim::OneCycleLR>(
             o, optim::OneCycleLROptions{.max_lr = v.real(0), .total_steps = v.integer(1), .pct_start = v.real(2)});
       }},
      {"ReduceLROnPlateau",
       {number("factor", 0.1, 0, 0.999), {"patience", [](const Run&) { return Numbers{2}; }, 0, kMostSteps, true}},
       [](Optimizer& o, const Values& v) {
         return make_unique<optim::ReduceLROnPlateau>(
             o, optim::ReduceLROnPlateauOptions{.factor = v.real(0), .patience = v.integer(1)});
       }},
      {"cosine",
       {length("N", 1)},
       [](Optimizer& o, const Values& v) {
         return make_unique<optim::CosineWithWarmup>(
             o, optim::CosineWithWarmupOptions{.warmup_steps = std::min(kWarmup, v.integer(0) / 10),
                                               .total_steps = v.integer(0),
                                               .min_factor = kLeastRate});
       }},
      {"step",
       {length("N", 1.0 / 3)},
       [](Optimizer& o, const Values& v) { return make_unique<optim::StepLR>(o, v.integer(0), kDrop); }},
      {"constant", {}, [](Optimizer&, const Values&) { return std::unique_ptr<optim::Scheduler>(); }}};
  return all;
}

std::vector<std::string_view> split(std::string_view text, char at) {
  std::vector<std::string_view> parts;
  for (size_t end; (end = text.find(at)) != text.npos; text.remove_prefix(end + 1))
    parts.push_back(text.substr(0, end));
  parts.push_back(text);
  return parts;
}

std::optional<double> parse_number(std::string_view text) {
  double v = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  return error == std::errc() && end == text.data() + text.size() && std::isfinite(v) ? std::optional(v) : std::nullopt;
}

struct Parsed {
  const Kind* kind = nullptr;
  std::vector<Numbers> values;  ///< by key; empty: the default
  std::string problem;
};

std::string keys_of(const Kind& kind) {
  std::string names;
  for (const Key& key : kind.keys) names += (names.empty() ? "" : ", ") + std::string(key.name);
  return names;
}

Parsed parse(std::string_view text) {
  Parsed out;
  const size_t colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  const auto found = std::find_if(kinds().begin(), kinds().end(), [&](const Kind& k) { return k.name == name; });
  if (found == kinds().end()) {
    out.problem = fmt::format("'{}' is no schedule; {} are", name, schedule_help());
    return out;
  }
  out.kind = &*found;
  out.values.resize(found->keys.size());
  if (colon == text.npos) return out;
  for (const std::string_view part : split(text.substr(colon + 1), ',')) {
    const size_t equals = part.find('=');
    // The short forms name their only key by its position.
    const std::string_view key_name = equals == part.npos ? "N" : part.substr(0, equals);
    const auto key =
        std::find_if(found->keys.begin(), found->keys.end(), [&](const Key& k) { return k.name == key_name; });
    if (key == found->keys.end()) {
      out.problem = found->keys.empty() ? fmt::format("{} takes no number", name)
                                        : fmt::format("{} takes {}, not '{}'", name, keys_of(*found), part);
      return out;
    }
    Numbers numbers;
    for (const std::string_view v : split(equals == part.npos ? part : part.substr(equals + 1), '+')) {
      const auto n = parse_number(v);
      if (!n || *n < key->least || *n > key->most || (key->whole && *n != std::floor(*n))) {
        out.problem = fmt::format("{}: '{}' is no value of {}", name, v, key->name);
        return out;
      }
      numbers.push_back(*n);
    }
    if (numbers.size() > 1 && std::string_view(key->name) != "milestones") {
      out.problem = fmt::format("{}: {} takes one number", name, key->name);
      return out;
    }
    out.values[static_cast<size_t>(key - found->keys.begin())] = std::move(numbers);
  }
  return out;
}

}  // namespace

std::string check_schedule(const std::string& text) { return parse(text).problem; }

std::string schedule_help() {
  std::string names = "constant, cosine[:N], step[:N]";
  for (const Kind& k : kinds())
    if (std::isupper(static_cast<unsigned char>(k.name[0]))) names += fmt::format(", {}", k.name);
  return names;
}

std::string complete_schedule(const std::string& text, int64_t steps, int64_t default_steps, double lr) {
  const Parsed p = parse(text);
  const Run run{std::max(steps, default_steps), lr};
  std::string out(p.kind->name);
  for (size_t i = 0; i < p.kind->keys.size(); ++i) {
    const Key& key = p.kind->keys[i];
    out += i == 0 ? ":" : ",";
    if (std::string_view(key.name) != "N") out += fmt::format("{}=", key.name);
    const Numbers numbers = p.values[i].empty() ? key.fallback(run) : p.values[i];
    for (size_t n = 0; n < numbers.size(); ++n)
      out += (n == 0 ? "" : "+") + (key.whole ? fmt::format("{:.0f}", numbers[n]) : fmt::format("{}", numbers[n]));
  }
  return out;
}

std::unique_ptr<optim::Scheduler> make_schedule(const std::string& text, optim::Optimizer& optimizer) {
  const Parsed p = parse(text);
  return p.kind->make(optimizer, Values(p.values));
}

bool looks_at_loss(const std::string& text) { return text.starts_with("ReduceLROnPlateau"); }
int64_t steps_ahead(const std::string& text) { return text.starts_with("cosine") ? 1 : 0; }

}  // namespace weft::demo
