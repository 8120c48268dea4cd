#include <algorithm>

#include "core/error.h"
#include "core/ops/random.h"
#include "core/schema/schemas.h"
#include "tools/weft/device.h"
#include "tools/weft/fuzz_patterns.h"

namespace weft::fuzz {
namespace {

// Their results are not defined, they are no op of tensors, or they take what no step makes.
bool excluded(std::string_view name) {
  for (std::string_view s :
       {"empty", "empty_like", "empty_strided", "tensor", "promote_types", "can_cast", "result_type", "as_strided",
        "nn.init.calculate_gain", "nn.utils.rnn.pack_padded_sequence", "nn.utils.rnn.pad_packed_sequence"})
    if (name == s) return true;
  return false;
}
// The host reads values: the compiled call runs in parts.
bool reads(std::string_view name) {
  for (std::string_view s : {"item", "equal", "allclose", "nonzero", "masked_select", "masked_scatter", "multinomial",
                             "repeat_interleave", "one_hot", "nn.init.orthogonal_", "nn.utils.get_total_norm"})
    if (name == s) return true;
  return false;
}

class Maker : Patterns {
 public:
  Maker(uint64_t seed, const std::function<bool(const std::string&)>& only) : Patterns(seed) {
    p_.backward = rng_() % 2 == 0;
    may_read_ = one_in(6);
    patterns_ = only("add") && only("narrow");  // not where single ops are asked for
    const auto add = [&](int weight, auto&& table) {
      Group g{weight, {}};
      for (const OpSchema& s : table)
        if (!excluded(s.name) && (may_read_ || !reads(s.name)) && only(std::string(s.name)))
          g.ops.push_back(find_op(s.name));
      if (!g.ops.empty()) groups_.push_back(std::move(g));
    };
    add(40, schema::pointwise());
    add(18, schema::pointwise_options());
    add(14, schema::views());
    add(9, schema::reductions());
    add(5, schema::norms());
    add(3, schema::losses());
    add(9, schema::indexing());
    add(5, schema::linear_algebra());
    add(4, schema::random());
    add(6, schema::creation());
    add(1, schema::images());
    Group nn{1, {}};
    for (const std::string& name : op_names())
      if (name.starts_with("nn.") && !excluded(name) && (may_read_ || !reads(name)) && only(name))
        nn.ops.push_back(find_op(name));
    if (!nn.ops.empty()) groups_.push_back(std::move(nn));
    WEFT_CHECK(!groups_.empty(), "fuzz: no op matches");
  }

  Program make() {
    static constexpr int64_t sizes[] = {1, 2, 3, 4, 5, 7, 8, 13, 16, 17, 31, 33, 64, 65, 100, 257};
    for (int64_t& e : extents_) e = sizes[rng_() % std::size(sizes)];
    if (one_in(20)) extents_[0] = 0;
    if (one_in(12)) extents_[1] = 1000 + below(9000);
    const bool large = patterns_ && one_in(6);
    if (large) {
      large_matrices();
      may_read_ |= one_in(3);
    }
    const DType dtypes[] = {DType::f32, DType::f32, DType::f32, DType::f32, DType::f64, DType::bf16};
    main_dtype_ = dtypes[rng_() % std::size(dtypes)];
    for (int64_t n = 2 + below(3); n > 0; --n) fresh(some_floating(), main_sizes());
    if (one_in(3)) fresh(DType::i64, main_sizes());
    if (one_in(4)) fresh(DType::bool_, main_sizes());
    if (one_in(6)) view_of_input();
    const int64_t length = 8 + below(large ? 20 : 53);
    manual_seed(p_.seed);
    for (int tries = 0; static_cast<int64_t>(p_.steps.size()) < length && tries < 600 && !stop_; ++tries)
      if (patterns_ && one_in(large ? 3 : 8))
        pattern();
      else
        step();
    results();
    if (p_.backward) make_backward_work();
    return std::move(p_);
  }

 private:
  struct Group {
    int weight;
    std::vector<const OpSchema*> ops;
  };

  // Where plans change the order of runs, and memory is given addresses first and contents later.
  void large_matrices() {
    extents_[0] = 100 + below(90);
    extents_[1] = one_in(3) ? extents_[0] : 100 + below(100);
    extents_[2] = one_in(2) ? extents_[1] : 100 + below(60);
  }

  // ---- steps
  void step() {
    int total = 0;
    for (const Group& g : groups_) total += g.weight;
    int64_t at_weight = below(total);
    const Group* group = &groups_.front();
    for (const Group& g : groups_) {
      if (at_weight < g.weight) {
        group = &g;
        break;
      }
      at_weight -= g.weight;
    }
    const OpSchema& op = *group->ops[rng_() % group->ops.size()];
    const size_t inputs = p_.inputs.size(), slots = env_[0].size();
    Step s;
    s.op = op.name;
    if (!structured(op.name, s.args)) s.args = by_names(op);
    if (!op.name.ends_with('_') && one_in(p_.backward ? 14 : 6)) s.op += "_";
    if (apply(s)) return;
    p_.inputs.resize(inputs);
    for (int v = 0; v < 2; ++v) {
      tensors_[v].resize(inputs);
      env_[v].resize(slots);
    }
  }

  void results() {
    p_.slots = static_cast<int>(env_[0].size());
    std::vector<int> made;
    for (const Step& s : p_.steps) made.insert(made.end(), s.outs.begin(), s.outs.end());
    std::erase_if(made, [&](int s) { return hidden_.count(s) != 0; });
    if (made.empty()) return;
    for (int s : made)
      if (one_in(5)) p_.results.push_back(s);
    p_.results.push_back(made.back());
  }

  // Where an in-place op changed what a gradient needs, the last of them go.
  void make_backward_work() {
    const auto works = [&] {
      try {
        for (int v = 0; v < 2; ++v) {
          manual_seed(p_.seed);
          run(p_, make_inputs(p_, v), v);
          tools::finish(device());
        }
        return true;
      } catch (const InternalError&) {
        throw;
      } catch (const Error&) {
        return false;
      }
    };
    while (!works()) {
      const auto last = std::find_if(p_.steps.rbegin(), p_.steps.rend(),
                                     [](const Step& s) { return s.op.ends_with('_') && s.outs.empty(); });
      if (last == p_.steps.rend()) {
        p_.backward = false;
        return;
      }
      p_.steps.erase(std::next(last).base());
    }
  }

  std::vector<Group> groups_;
  bool patterns_ = false;
};

}  // namespace

Program generate(uint64_t seed, const std::function<bool(const std::string&)>& only) {
  return Maker(seed, only).make();
}

}  // namespace weft::fuzz
