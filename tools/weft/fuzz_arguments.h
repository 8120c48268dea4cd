#pragma once
#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "core/error.h"
#include "core/ops/random.h"
#include "tools/weft/fuzz.h"

namespace weft::fuzz {

inline constexpr int64_t kMostElements = 40000;

inline bool is_one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// Arguments for the steps of a program that grows: slots of what is there, new inputs, literals.
class Arguments {
 protected:
  explicit Arguments(uint64_t seed) : rng_(seed * 2654435761u + 17) { p_.seed = seed; }

  // ---- numbers
  int64_t below(int64_t n) { return n <= 0 ? 0 : static_cast<int64_t>(rng_() % static_cast<uint64_t>(n)); }
  bool one_in(int64_t n) { return below(n) == 0; }
  double real(double low, double high) { return low + (high - low) * static_cast<double>(rng_() >> 11) * 0x1p-53; }
  double short_real() { return static_cast<double>(below(33) - 16) / 8; }

  // ---- tensors
  const Tensor* at(int slot) const {
    const Value& v = env_[0][static_cast<size_t>(slot)];
    return v.is_tensor() ? &v.as_tensor() : nullptr;
  }
  DType some_floating() {
    const DType all[] = {DType::f32, DType::f64, DType::bf16};
    return one_in(6) ? all[rng_() % 3] : main_dtype_;
  }
  DType some_dtype() {
    const DType all[] = {DType::f32, DType::f64, DType::bf16, DType::i64, DType::bool_};
    return all[rng_() % 5];
  }
  Dims main_sizes() {
    Dims d;
    const int64_t rank = one_in(8) ? below(5) : 2;
    for (int64_t i = 0; i < rank; ++i) d.push_back(one_in(6) ? 1 : extents_[(i + (one_in(8) ? 1 : 0)) % 3]);
    int64_t n = 1;
    for (int64_t s : d) n *= s;
    return n > kMostElements ? Dims{std::min<int64_t>(extents_[1], 20000)} : d;
  }
  int fresh(DType dtype, const Dims& sizes, int64_t low = -4, int64_t high = 9, bool unit = false, bool leaf = true) {
    Input in{.slot = static_cast<int>(env_[0].size()), .dtype = dtype, .sizes = sizes, .low = low, .high = high};
    in.unit = unit;
    if (dtype == DType::bool_) in.low = 0, in.high = 2;
    in.high = std::max(in.high, in.low + 1);
    if (one_in(3)) in.layout = static_cast<Layout>(below(5));
    in.requires_grad = p_.backward && leaf && is_floating(dtype) && !one_in(4);
    add(in);
    return in.slot;
  }
  void add(const Input& in) {
    for (int v = 0; v < 2; ++v) {
      tensors_[v].push_back(make_input(in, p_.seed, v, tensors_[v]));
      env_[v].push_back(tensors_[v].back());
    }
    p_.inputs.push_back(in);
  }
  void view_of_input() {
    for (size_t i = 0; i < p_.inputs.size(); ++i) {
      const Input base = p_.inputs[i];
      if (base.requires_grad || base.sizes.empty() || base.sizes[0] < 2) continue;
      Input in = base;
      in.slot = static_cast<int>(env_[0].size());
      in.view_of = static_cast<int>(i);
      in.sizes[0] = 1 + below(base.sizes[0] - 1);
      in.layout = Layout::plain;
      return add(in);
    }
  }
  // A slot that fits, later ones more often; -1 when there is none.
  int pick(const std::function<bool(const Tensor&)>& fits) {
    std::vector<int> found;
    for (size_t s = 0; s < env_[0].size(); ++s)
      if (const Tensor* t = at(static_cast<int>(s)); t && !hidden_.count(static_cast<int>(s)) && fits(*t))
        found.push_back(static_cast<int>(s));
    if (found.empty()) return -1;
    const size_t n = found.size();
    return found[n - 1 - std::min(rng_() % n, one_in(3) ? n : rng_() % n)];
  }
  int any_tensor() {
    return pick([](const Tensor&) { return true; });
  }
  int floating(int rank = -1) {
    const int s = pick([&](const Tensor& t) { return is_floating(t.dtype()) && (rank < 0 || t.dim() == rank); });
    if (s >= 0 && !one_in(10)) return s;
    Dims d;
    for (int i = 0; rank < 0 ? i < 2 : i < rank; ++i) d.push_back(extents_[i % 3] > 300 ? 5 : extents_[i % 3]);
    return fresh(main_dtype_, d);
  }
  int shaped(DType dtype, const Dims& sizes, bool unit = false, bool leaf = true) {
    if (!unit && leaf) {
      const int s = pick([&](const Tensor& t) { return t.dtype() == dtype && t.sizes() == sizes; });
      if (s >= 0 && !one_in(5)) return s;
    }
    return fresh(dtype, sizes, -4, 9, unit, leaf);
  }
  // Broadcasts against `t`.
  int beside(const Tensor& t) {
    Dims sizes = t.sizes();
    if (one_in(3))
      for (int64_t& s : sizes)
        if (one_in(2)) s = 1;
    while (!sizes.empty() && one_in(5)) sizes = Dims(std::vector<int64_t>(sizes.begin() + 1, sizes.end()));
    const bool strict = !one_in(4);
    const int s = pick([&](const Tensor& o) { return o.sizes() == sizes && (!strict || o.dtype() == t.dtype()); });
    if (s >= 0 && !one_in(12)) return s;
    return fresh(strict ? t.dtype() : some_dtype(), sizes);
  }
  int mask(const Tensor& t) {
    const int s = pick([&](const Tensor& o) { return o.dtype() == DType::bool_ && o.sizes() == t.sizes(); });
    return s >= 0 && !one_in(4) ? s : fresh(DType::bool_, t.sizes());
  }
  int index(const Dims& sizes, int64_t n) { return fresh(DType::i64, sizes, 0, n); }

  // ---- arguments
  static Arg slot(int s, std::string name = {}) {
    return {.kind = Arg::Kind::slot, .name = std::move(name), .slots = {s}};
  }
  static Arg slots(std::vector<int> s, std::string name = {}) {
    return {.kind = Arg::Kind::slots, .name = std::move(name), .slots = std::move(s)};
  }
  static Arg literal(const Value& v, std::string name = {}) { return {.name = std::move(name), .values = {v, v}}; }
  Arg number(std::string name = {}, bool integer = false) {
    if (integer) return {.name = std::move(name), .values = {below(7) - 2, below(7) - 2}};
    return {.name = std::move(name), .values = {short_real(), short_real()}};
  }
  Arg positive(std::string name, double low, double high) {
    return {.name = std::move(name), .values = {real(low, high), real(low, high)}};
  }
  Arg dim(const Tensor& t, std::string name = {}) {
    const int64_t d = std::max(t.dim(), 1);
    return literal(below(2 * d) - d, std::move(name));
  }
  Arg some_dims(const Tensor& t, std::string name) {
    if (one_in(2) || t.dim() == 0) return dim(t, std::move(name));
    std::vector<int64_t> out;
    for (int64_t i = 0; i < t.dim(); ++i)
      if (one_in(2)) out.push_back(i);
    return out.empty() ? dim(t, std::move(name)) : literal(out, std::move(name));
  }
  std::vector<int64_t> sizes_of(int64_t n) {  // with n elements
    std::vector<int64_t> out;
    while (n > 1 && out.size() < 3) {
      int64_t f = 1;
      for (int64_t k = 2; k <= n && k < 600; ++k)
        if (n % k == 0 && (f == 1 || one_in(3))) f = k;
      if (f == 1) break;
      out.push_back(f);
      n /= f;
    }
    if (n != 1 || out.empty()) out.push_back(n);
    if (one_in(3)) std::swap(out.front(), out.back());
    if (one_in(4)) out.push_back(1);
    return out;
  }

  // ---- ops whose arguments belong together; false: by the names of the parameters
  bool structured(std::string_view op, std::vector<Arg>& a) {
    if (is_one_of(op, {"mm", "bmm", "mv", "dot", "matmul", "addmm", "baddbmm", "addbmm", "addmv", "linear"})) {
      product(op, a);
      return true;
    }
    if (op == "embedding") {
      const int w = floating(2);
      a = {slot(index({1 + below(5), extents_[2] % 40 + 1}, at(w)->size(0))), slot(w)};
      return true;
    }
    if (is_one_of(op, {"cross_entropy", "nll_loss", "multi_margin_loss"})) {
      const int x = floating(2);
      a = {slot(x), slot(index({at(x)->size(0)}, at(x)->size(1)))};
      reduction(a);
      return true;
    }
    if (is_one_of(op, {"layer_norm", "rms_norm", "batch_norm", "group_norm"})) {
      norm(op, a);
      return true;
    }
    if (is_one_of(op, {"binary_cross_entropy", "bernoulli", "poisson", "multinomial", "normal"})) {
      if (op == "normal") {
        a = {slot(floating())};
        a.push_back(one_in(2) ? slot(shaped(at(a[0].slots[0])->dtype(), at(a[0].slots[0])->sizes(), true))
                              : positive("", 0.1, 2));
        return true;
      }
      const Dims sizes = op == "multinomial" ? Dims{4, 7} : main_sizes();
      a = {slot(fresh(some_floating(), sizes, 0, 1, true))};
      if (op == "multinomial") a.push_back(literal(1 + below(4)));
      if (op == "binary_cross_entropy") a.push_back(slot(shaped(at(a[0].slots[0])->dtype(), sizes, true, false)));
      return true;
    }
    if (is_one_of(op, {"gather", "scatter", "scatter_add", "index_select", "index_add", "index_copy", "index_fill",
                       "take", "take_along_dim", "__getitem__", "__setitem__"})) {
      indexing(op, a);
      return true;
    }
    return view(op, a);
  }

  void product(std::string_view op, std::vector<Arg>& a) {
    const bool batched = is_one_of(op, {"bmm", "baddbmm", "addbmm"}) || (is_one_of(op, {"matmul"}) && one_in(4));
    const int x = floating(is_one_of(op, {"dot"}) ? 1 : batched ? 3 : 2);
    const Dims s = at(x)->sizes();
    const DType t = at(x)->dtype();
    const int64_t n = extents_[2] > 300 ? 9 : std::max<int64_t>(extents_[2], 1);
    const int64_t k = s[s.size() - 1];
    const Dims other = op == "dot"                      ? s
                       : is_one_of(op, {"mv", "addmv"}) ? Dims{k}
                       : batched                        ? Dims{s[0], k, n}
                       : op == "linear"                 ? Dims{n, k}
                                                        : Dims{k, n};
    const int y = shaped(t, other);
    if (op == "addmm") a.push_back(slot(shaped(t, one_in(2) ? Dims{n} : Dims{s[0], n})));
    if (op == "addmv") a.push_back(slot(shaped(t, {s[0]})));
    if (op == "baddbmm") a.push_back(slot(shaped(t, {s[0], s[1], n})));
    if (op == "addbmm") a.push_back(slot(shaped(t, {s[1], n})));
    a.push_back(slot(x));
    a.push_back(slot(y));
    if (op == "linear" && one_in(2)) a.push_back(slot(shaped(t, {n})));
    if (op.starts_with("add") || op == "baddbmm")
      for (const char* name : {"beta", "alpha"})
        if (one_in(2)) a.push_back(number(name));
  }

  void reduction(std::vector<Arg>& a) {
    const char* modes[] = {"mean", "sum", "none"};
    a.push_back(literal(modes[below(3)], "reduction"));
  }

  void norm(std::string_view op, std::vector<Arg>& a) {
    const bool channels = is_one_of(op, {"batch_norm", "group_norm"});
    const int x = channels ? floating(2 + static_cast<int>(below(2))) : floating(1 + static_cast<int>(below(3)));
    const Tensor t = *at(x);
    a.push_back(slot(x));
    Dims sizes{t.size(channels ? 1 : -1)};
    if (!channels && t.dim() > 1 && one_in(3)) sizes = {t.size(-2), t.size(-1)};
    if (op == "batch_norm") {
      const bool train = one_in(2);
      a.push_back(slot(shaped(t.dtype(), sizes, false, false)));
      a.push_back(slot(shaped(t.dtype(), sizes, true, false)));
      a.push_back(literal(train, "training"));
    } else if (op == "group_norm") {
      a.push_back(literal(sizes[0] % 2 == 0 && one_in(2) ? 2 : 1));
    } else {
      a.push_back(literal(sizes));
    }
    if (one_in(2)) {
      a.push_back(slot(shaped(t.dtype(), sizes), "weight"));
      if (op != "rms_norm" && one_in(2)) a.push_back(slot(shaped(t.dtype(), sizes), "bias"));
    }
  }

  void indexing(std::string_view op, std::vector<Arg>& a) {
    const int x = pick([](const Tensor& t) { return t.dim() > 0 && t.numel() > 0; });
    if (x < 0) return;
    const Tensor t = *at(x);
    const int64_t d = below(t.dim()), n = t.size(d);
    a.push_back(slot(x));
    if (op == "take") return a.push_back(slot(index({3, 5}, t.numel())));
    if (is_one_of(op, {"__getitem__", "__setitem__"})) {
      Value::List parts;
      const int64_t from = below(t.size(0));
      if (one_in(3))
        a.push_back(slot(index({1 + below(6)}, t.size(0))));
      else if (one_in(3))
        a.push_back(literal(from));
      else
        a.push_back(
            literal(Value::list({Value({{"slice", Value::list({from, from + 1 + below(t.size(0)), 1 + below(2)})}})})));
      if (op == "__setitem__") a.push_back(number());
      return;
    }
    Dims sizes = t.sizes();
    if (is_one_of(op, {"gather", "scatter", "scatter_add", "take_along_dim"})) {
      if (op != "take_along_dim") sizes[static_cast<int>(d)] = op == "gather" ? 1 + below(6) : 1 + below(n);
      const int i = index(sizes, n);
      if (op == "take_along_dim") {
        a.push_back(slot(i));
        return a.push_back(literal(d));
      }
      a.push_back(literal(d));
      a.push_back(slot(i));
      if (op == "scatter" && one_in(3))
        a.push_back(number());
      else if (op != "gather")
        a.push_back(slot(shaped(t.dtype(), sizes)));
      if (op == "scatter" && one_in(3)) a.push_back(literal("add", "reduce"));
      return;
    }
    const int64_t count = 1 + below(7);
    a.push_back(literal(d));
    a.push_back(slot(index({count}, n)));
    sizes[static_cast<int>(d)] = count;
    if (is_one_of(op, {"index_add", "index_copy"})) a.push_back(slot(shaped(t.dtype(), sizes)));
    if (op == "index_fill") a.push_back(number());
  }

  bool view(std::string_view op, std::vector<Arg>& a) {
    if (!is_one_of(
            op, {"view",      "reshape", "expand", "broadcast_to", "permute", "movedim", "narrow", "select",
                 "slice",     "flip",    "roll",   "pad",          "repeat",  "tile",    "split",  "split_with_sizes",
                 "unflatten", "unfold",  "topk",   "kthvalue",     "to"}))
      return false;
    const int x = any_tensor();
    const Tensor t = *at(x);
    const int64_t r = t.dim(), d = below(r), n = r ? t.size(d) : 1;
    a.push_back(slot(x));
    if (op == "to") {
      a.push_back(literal(some_dtype(), "dtype"));
      if (one_in(4)) a.push_back(literal(true, "copy"));
    } else if (op == "view" || op == "reshape") {
      a.push_back(literal(sizes_of(t.numel())));
    } else if (op == "expand" || op == "broadcast_to") {
      std::vector<int64_t> sizes(t.sizes().begin(), t.sizes().end());
      for (int64_t& s : sizes)
        if (s == 1) s = 1 + below(9);
      if (one_in(3)) sizes.insert(sizes.begin(), 1 + below(3));
      a.push_back(literal(sizes));
    } else if (op == "permute" || op == "movedim") {
      std::vector<int64_t> order(static_cast<size_t>(r)), ascending(static_cast<size_t>(r));
      for (int64_t i = 0; i < r; ++i) order[static_cast<size_t>(i)] = ascending[static_cast<size_t>(i)] = i;
      for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng_() % i]);
      a.push_back(literal(order));
      if (op == "movedim") a.push_back(literal(ascending));
    } else if (op == "narrow") {
      const int64_t from = below(n);
      for (int64_t v : {d, from, below(n - from + 1)}) a.push_back(literal(v));
    } else if (op == "select") {
      for (int64_t v : {d, below(n)}) a.push_back(literal(v));
    } else if (op == "slice") {
      const int64_t from = below(n);
      for (int64_t v : {d, from, from + 1 + below(n), 1 + below(3)}) a.push_back(literal(v));
    } else if (op == "unfold") {
      for (int64_t v : {d, 1 + below(std::min<int64_t>(n, 5)), 1 + below(3)}) a.push_back(literal(v));
    } else if (op == "flip" || op == "roll") {
      if (op == "roll") a.push_back(literal(below(9) - 4));
      a.push_back(literal(std::vector<int64_t>{d}));
    } else if (op == "pad") {
      a.push_back(literal(std::vector<int64_t>{below(3), below(3)}));
      const char* modes[] = {"constant", "constant", "reflect", "replicate", "circular"};
      const char* mode = modes[below(5)];
      a.push_back(literal(mode, "mode"));
      if (mode == modes[0] && one_in(2)) a.push_back(number("value"));
    } else if (op == "repeat" || op == "tile") {
      std::vector<int64_t> times(static_cast<size_t>(std::max<int64_t>(r, 1)));
      for (int64_t& v : times) v = 1 + below(2);
      a.push_back(literal(times));
    } else if (op == "split") {
      for (int64_t v : {n / 3 + 1, d}) a.push_back(literal(v));
    } else if (op == "split_with_sizes") {
      const int64_t first = below(n + 1);
      a.push_back(literal(std::vector<int64_t>{first, n - first}));
      a.push_back(literal(d));
    } else if (op == "unflatten") {
      a.push_back(literal(d));
      a.push_back(literal(sizes_of(n)));
    } else {  // topk, kthvalue
      for (int64_t v : {1 + below(std::min<int64_t>(n, 6)), d}) a.push_back(literal(v));
    }
    return true;
  }

  // ---- all other ops: by the names of their parameters
  int tensor_argument(std::string_view op, std::string_view param, const Tensor* self) {
    if (is_one_of(param, {"mask", "condition"})) return self ? mask(*self) : fresh(DType::bool_, main_sizes());
    if (self) return beside(*self);
    if (op == "t" || op == "nn.init.eye_" || op == "diag") return floating(2);
    if (op.starts_with("bitwise_") || op == "gcd" || op.starts_with("logical_")) {
      const int s = pick([](const Tensor& t) { return !is_floating(t.dtype()); });
      return s >= 0 ? s : fresh(DType::i64, main_sizes());
    }
    return one_in(5) ? any_tensor() : one_in(25) ? fresh(some_dtype(), main_sizes()) : floating();
  }

  // False: left to its default.
  bool argument(std::string_view op, const std::string& param, const std::string& otherwise, const Tensor* self,
                std::vector<Arg>& a, const std::string& name) {
    const bool optional = !otherwise.empty();
    const auto put = [&](Arg x) {
      a.push_back(std::move(x));
      return true;
    };
    if (is_one_of(param,
                  {"input", "self",      "tensor", "x1",     "anchor",     "logits",  "other", "end",      "target",
                   "vec",   "vec2",      "mat2",   "x2",     "tensor1",    "tensor2", "src",   "positive", "negative",
                   "mask",  "condition", "var",    "weight", "pos_weight", "min",     "max"}) ||
        (param == "exponent") || (param == "value" && is_one_of(op, {"fill"}))) {
      if (optional && one_in(2)) return false;
      const bool numeric = self && is_one_of(param, {"other", "end", "tensor1", "tensor2", "min", "max", "value", "src",
                                                     "input", "weight", "exponent"});
      if (numeric && (one_in(3) || is_one_of(param, {"min", "max", "value"}) || param == "weight"))
        return put(number(name, one_in(2)));
      const int s = is_one_of(param, {"target", "weight", "pos_weight", "var"}) && self
                        ? shaped(self->dtype(), self->sizes(), param == "var")
                        : tensor_argument(op, param, self);
      return put(slot(s, name));
    }
    if (is_one_of(param, {"tensors", "sequences"})) {
      const int first = any_tensor();
      std::vector<int> list{first};
      for (int64_t n = 1 + below(3); n > 0; --n) list.push_back(shaped(at(first)->dtype(), at(first)->sizes()));
      return put(slots(list, name));
    }
    if (param == "size" || param == "shape") return optional ? false : put(literal(main_sizes(), name));
    if (param == "device" && device().is_cuda()) return put(literal(device(), name));
    if (optional && one_in(2)) return false;
    if (is_one_of(param, {"device", "requires_grad", "inplace", "sparse_grad", "generator", "memory_format",
                          "compute_mode", "ignore_index", "stable", "nonlinearity", "non_blocking"}))
      return false;
    if (param == "dtype") return one_in(2) ? put(literal(some_floating(), name)) : false;
    if (otherwise == "True" || otherwise == "False" || param == "unbiased") return put(literal(one_in(2), name));
    if (param == "reduction") {
      reduction(a);
      return true;
    }
    if (param == "approximate") return put(literal(one_in(2) ? "tanh" : "none", name));
    if (param == "rounding_mode") return put(literal(one_in(2) ? "trunc" : "floor", name));
    if (param == "mode" || param == "padding_side") return false;
    if (param == "dim" && self && optional && otherwise == "None" && one_in(2)) return put(some_dims(*self, name));
    if (is_one_of(param, {"dim", "dim0", "dim1", "dim2", "axis0", "axis1", "dimension", "start_dim", "end_dim"}))
      return put(self ? dim(*self, name) : literal(0, name));
    if (is_one_of(param, {"p", "training", "sparsity"}) &&
        (op.find("dropout") != std::string_view::npos || op.find("bernoulli") != std::string_view::npos ||
         op.find("geometric") != std::string_view::npos || param == "sparsity"))
      return put(positive(name, 0.1, 0.9));
    if (is_one_of(param, {"diagonal", "offset", "decimals"})) return put(literal(below(5) - 2, name));
    if (is_one_of(param,
                  {"n", "m", "steps", "chunks", "high", "groups", "repeats", "num_classes", "size", "num_groups"}))
      return put(literal(1 + below(12), name));
    if (param == "low" || param == "start") return put(literal(below(3) - 3, name));
    if (is_one_of(param,
                  {"eps", "std", "lambd", "beta", "delta", "tau", "alpha", "sigma", "rtol", "atol", "k", "upper"}))
      return put(op == "add" || op == "sub" || op == "rsub" || op == "index_add" ? number(name, one_in(2))
                                                                                 : positive(name, 0.25, 2));
    if (is_one_of(param, {"p", "ord", "norm_type"})) return put(literal(1 + below(3), name));
    if (param == "correction") return put(literal(below(2), name));
    return put(number(name, one_in(3)));
  }

  std::vector<Arg> by_names(const OpSchema& op) {
    std::vector<Arg> a;
    const Tensor* self = nullptr;
    Tensor first;
    std::string_view text = op.params;
    bool keyword_only = false;
    for (int i = 0; !text.empty(); ++i) {
      const size_t comma = text.find(',');
      std::string_view one = text.substr(0, comma);
      text = comma == std::string_view::npos ? std::string_view() : text.substr(comma + 1);
      while (one.starts_with(' ')) one.remove_prefix(1);
      if (one == "*") {
        keyword_only = true;
        continue;
      }
      if (one.starts_with('*')) one.remove_prefix(1);
      const size_t eq = one.find('=');
      const std::string param(one.substr(0, eq));
      const std::string otherwise(eq == std::string_view::npos ? "" : one.substr(eq + 1));
      argument(op.name, param, otherwise, self, a, i == 0 && !keyword_only ? "" : param);
      if (!self && !a.empty() && a.back().kind == Arg::Kind::slot && at(a.back().slots[0])) {
        first = *at(a.back().slots[0]);
        self = &first;
      }
    }
    return a;
  }

  std::mt19937_64 rng_;
  Program p_;
  std::vector<Value> env_[2];       // what the slots hold, in calls of either variation
  std::vector<Tensor> tensors_[2];  // the inputs
  std::set<int> hidden_;            // slots that nothing more uses
  int64_t extents_[3];
  DType main_dtype_ = DType::f32;
  bool may_read_ = false;
};

}  // namespace weft::fuzz
