#pragma once
#include <new>

#include "tools/weft/device.h"
#include "tools/weft/fuzz_arguments.h"

namespace weft::fuzz {

/// Several steps at once, of kinds that single random ones seldom meet: an operand that dies where it is read at two
/// places, large results whose last uses are in another order than their first, in one part of a cut call or in
/// several, changes in place through views, what is made of numbers alone and changed between its uses.
class Patterns : protected Arguments {
 protected:
  using Arguments::Arguments;

  void pattern() {
    const size_t slots = env_[0].size();
    std::vector<int> passing;  // what nothing but the pattern uses
    switch (below(4)) {
      case 0:
        two_reads(passing);
        break;
      case 1:
        out_of_order(passing);
        break;
      case 2:
        of_numbers(passing);
        break;
      default:
        in_place_through_views(passing);
    }
    for (int s : passing)
      if (static_cast<size_t>(s) >= slots) hidden_.insert(s);
  }

  /// Runs `s` and takes it into the program; false, and nothing has changed, where it fails.
  bool apply(Step& s) {
    if (multiplies_sizes(s)) return false;
    Value r[2];
    const bool in_place = s.op.ends_with('_');
    for (int v = 0; v < 2; ++v) {
      try {
        r[v] = run_step(s, env_[v], v);
        tools::finish(device());
      } catch (const InternalError&) {
        throw;
      } catch (const std::bad_alloc&) {  // of a kernel's own memory
        stop_ = v == 1 && in_place;
        return false;
      } catch (const Error&) {
        stop_ = v == 1 && in_place;  // the two environments are no longer those of one program
        return false;
      }
    }
    if (!in_place) {
      const auto count = [](const Value& x) {
        return x.is_tensor() || x.is_scalar() ? size_t{1} : x.is_list() ? std::min<size_t>(x.size(), 6) : size_t{0};
      };
      if (count(r[0]) != count(r[1])) return false;
      for (size_t k = 0; k < count(r[0]); ++k) {
        for (int v = 0; v < 2; ++v) {
          const Value& x = r[v].is_list() ? r[v].as_list()[k] : r[v];
          if (!x.is_tensor() && !x.is_scalar()) return false;
          if (x.is_tensor() && (!x.as_tensor().defined() || x.as_tensor().numel() > kMostElements)) return false;
        }
      }
      for (size_t k = 0; k < count(r[0]); ++k) {
        s.outs.push_back(static_cast<int>(env_[0].size()));
        for (int v = 0; v < 2; ++v) env_[v].push_back(r[v].is_list() ? r[v].as_list()[k] : r[v]);
      }
    }
    p_.steps.push_back(s);
    return true;
  }

  bool stop_ = false;

 private:
  // Such calls would take gigabytes, only to be left out.
  bool multiplies_sizes(const Step& s) const {
    if (!is_one_of(s.op, {"outer", "kron", "diag", "diag_embed"})) return false;
    constexpr int64_t kMost = 1000;
    return std::any_of(s.args.begin(), s.args.end(), [&](const Arg& a) {
      return a.kind == Arg::Kind::slot && at(a.slots[0]) && at(a.slots[0])->numel() > kMost;
    });
  }
  /// The slot of the result, -1 where the call fails.
  int made(std::string op, std::vector<Arg> args) {
    for (const Arg& a : args)
      if (a.kind == Arg::Kind::slot && a.slots[0] < 0) return -1;
    Step s{std::move(op), std::move(args), {}};
    return !stop_ && apply(s) && !s.outs.empty() ? s.outs[0] : -1;
  }
  void in_place(std::string op, std::vector<Arg> args) {
    for (const Arg& a : args)
      if (a.kind == Arg::Kind::slot && a.slots[0] < 0) return;
    Step s{std::move(op), std::move(args), {}};
    if (!stop_) apply(s);
  }
  template <size_t n>
  std::string one_of(const char* const (&names)[n]) {
    return names[below(n)];
  }
  std::string binary() { return one_of({"add", "sub", "mul", "maximum", "minimum"}); }
  std::string unary() { return one_of({"tanh", "sin", "abs", "relu", "sigmoid", "neg", "square", "exp"}); }

  /// A matrix of the program's own, no input and nobody else's: of one op, or of a product.
  int matrix() {
    const int x = floating(2);
    constexpr int64_t kMostSquare = 200;
    switch (at(x)->size(1) > kMostSquare ? 1 + below(4) : below(5)) {
      case 0:
        return made("matmul", {slot(x), slot(shaped(at(x)->dtype(), {at(x)->size(1), at(x)->size(1)}))});
      case 1:
        return made("cumsum", {slot(x), literal(below(2))});
      case 2:
        return made("softmax", {slot(x), literal(below(2))});
      case 3:
        return made("clone", {slot(x)});
      default:
        return made(unary(), {slot(x)});
    }
  }
  /// A view of a matrix that broadcasts against it; -1: none.
  int view_beside(int x) {
    if (x < 0) return -1;
    const Tensor t = *at(x);
    if (t.dim() != 2 || t.numel() == 0) return -1;
    const int64_t d = below(2), n = t.size(static_cast<int>(d));
    const auto line = [&] { return made("narrow", {slot(x), literal(d), literal(below(n)), literal(int64_t{1})}); };
    switch (below(5)) {
      case 0:
        return t.size(0) == t.size(1) ? made("t", {slot(x)}) : line();
      case 1:
        return line();
      case 2:
        return made("expand", {slot(line()), literal(std::vector<int64_t>{t.size(0), t.size(1)})});
      case 3:
        return t.size(1) > 0 && d == 0 ? made("select", {slot(x), literal(d), literal(below(n))}) : line();
      default:
        return x;
    }
  }

  /// A compiled call is cut here.
  void host_reads(int x) { made("item", {slot(made("sum", {slot(x)}))}); }

  void two_reads(std::vector<int>& passing) {
    const int x = matrix();
    if (x < 0) return;
    if (one_in(2)) return dies_beside(x, passing);
    int u = -1, v = -1;
    const Tensor t = *at(x);
    if (one_in(3) && t.dim() == 2 && t.size(0) > 2) {  // two parts that overlap
      const int64_t length = 1 + below(t.size(0) - 1), room = t.size(0) - length + 1;
      u = made("narrow", {slot(x), literal(int64_t{0}), literal(below(room)), literal(length)});
      v = made("narrow", {slot(x), literal(int64_t{0}), literal(below(room)), literal(length)});
    } else {
      u = view_beside(x);
      v = view_beside(x);
    }
    const int p = made(binary(), {slot(u), slot(v)});
    const int q = one_in(2) ? made(binary(), {slot(v), slot(p)}) : made(unary(), {slot(one_in(2) ? u : p)});
    const int r = made(binary(), {slot(q), slot(one_in(2) ? u : p)});
    if (one_in(2)) made(binary(), {slot(r), slot(one_in(2) ? v : q)});
    passing = {x, u, v};
    if (one_in(2)) passing.push_back(p);
    if (one_in(3)) passing.push_back(q);
  }

  // The result could take the operand's memory, were it not read elsewhere as well.
  void dies_beside(int x, std::vector<int>& passing) {
    const Tensor t = *at(x);
    if (t.dim() != 2 || t.size(0) < 2) return;
    const int line =
        made("narrow", {slot(x), literal(int64_t{0}), literal(1 + below(t.size(0) - 1)), literal(int64_t{1})});
    const int p = made(binary(), {slot(shaped(t.dtype(), t.sizes())), slot(line)}),
              q = one_in(2) ? made(unary(), {slot(p)}) : p;
    const int r = made(binary(), {slot(x), slot(q)});
    made(one_in(2) ? "cumsum" : "softmax", {slot(r), literal(int64_t{0})});
    passing = {x, line, p, q, r};
  }

  void out_of_order(std::vector<int>& passing) {
    std::vector<int> living;
    const auto keep = [&](int s) {
      if (s >= 0) living.push_back(s);
    };
    for (int64_t n = 2 + below(3); n > 0; --n) keep(matrix());
    for (int64_t n = 4 + below(8); n > 0 && !living.empty(); --n) {
      if (may_read_ && one_in(4)) host_reads(living[rng_() % living.size()]);
      const size_t i = rng_() % living.size(), k = one_in(2) ? living.size() - 1 : rng_() % living.size();
      const int a = living[i], b = living[k];
      const bool last = !one_in(3), both = one_in(2);  // their last uses, or they live on
      const size_t before = living.size();
      switch (below(7)) {
        case 0:
          keep(matrix());
          continue;
        case 6:
          in_place("mul_", {slot(a), number()});
          break;
        case 1:
          made("sum", {slot(a), literal(std::vector<int64_t>{below(2)}, "dim")});
          break;
        case 2:
          made("amax", {slot(a), literal(std::vector<int64_t>{1}, "dim")});
          break;
        case 3:
          keep(made(unary(), {slot(a)}));
          break;
        case 4:
          keep(made(binary(), {slot(a), slot(b)}));
          break;
        default:
          keep(made("cumsum", {slot(a), literal(int64_t{0})}));
      }
      if (!last) continue;
      for (int dead : {a, both && living.size() > before ? b : a}) {
        passing.push_back(dead);
        std::erase(living, dead);
      }
    }
    for (int s : living)
      if (one_in(2)) passing.push_back(s);
  }

  // The same in every call with the same numbers, until something else is written to it.
  void of_numbers(std::vector<int>& passing) {
    const int x = matrix();
    if (x < 0) return;
    const Dims sizes = at(x)->sizes();
    if (sizes.size() != 2) return;
    const std::vector<int64_t> list(sizes.begin(), sizes.end());
    std::vector<int> living;
    const auto keep = [&](int s) {
      if (s >= 0) living.push_back(s);
    };
    const auto some = [&] { return living[rng_() % living.size()]; };
    const auto start = [&] {
      switch (below(4)) {
        case 0:
          return keep(made("ones_like", {slot(x)}));
        case 1: {
          const int line = made("linspace", {number(), number(), literal(list[1])});
          return keep(made("expand", {slot(line), literal(list)}));
        }
        default:
          return keep(made("full", {literal(list), number()}));
      }
    };
    start();
    for (int64_t n = 3 + below(9); n > 0 && !living.empty(); --n) {
      if (may_read_ && one_in(12)) host_reads(some());
      const int a = some();
      switch (below(9)) {
        case 0:
          start();
          break;
        case 1:
          keep(made(one_in(2) ? "tril" : "triu", {slot(a)}));
          break;
        case 2:
          keep(made("cumsum", {slot(a), literal(below(2))}));
          break;
        case 3:
          keep(made(unary(), {slot(a)}));
          break;
        case 4:
          keep(made(binary(), {slot(a), slot(some())}));
          break;
        case 5:
          in_place(one_in(2) ? "mul_" : "fill_", {slot(one_in(2) ? a : view_beside(a)), number()});
          break;
        case 6:
          if (one_in(3)) in_place("add_", {slot(view_beside(a)), slot(x)});
          break;
        default:
          made(binary(), {slot(x), slot(one_in(2) ? a : view_beside(a))});
      }
    }
    for (int s : living)
      if (!one_in(6)) passing.push_back(s);
  }

  void in_place_through_views(std::vector<int>& passing) {
    const int x = matrix();
    for (int64_t n = 1 + below(3); n > 0; --n) {
      const int v = view_beside(x);
      if (v < 0) return;
      const int before = one_in(2) ? made(unary(), {slot(one_in(2) ? x : v)}) : -1;
      switch (below(4)) {
        case 0:
          in_place("mul_", {slot(v), number()});
          break;
        case 1:
          in_place(binary() == "sub" ? "sub_" : "add_", {slot(v), slot(shaped(at(v)->dtype(), at(v)->sizes()))});
          break;
        case 2:
          in_place("copy_", {slot(v), slot(shaped(at(v)->dtype(), at(v)->sizes()))});
          break;
        default:
          in_place("tanh_", {slot(v)});
      }
      made(binary(), {slot(one_in(2) ? x : v), slot(before >= 0 ? before : x)});
      passing.push_back(v);
      if (one_in(2)) passing.push_back(before);
    }
    if (one_in(2)) passing.push_back(x);
  }
};

}  // namespace weft::fuzz
