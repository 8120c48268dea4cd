#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/registry.h"

// Random programs: what `weft fuzz programs` makes, runs, shrinks and shows.
namespace weft::fuzz {

/// An argument of a step: what a slot holds, what several hold, or a literal. Two literals, since numbers differ from
/// call to call: [0] in most of them, [1] in calls with other values.
struct Arg {
  enum class Kind { slot, slots, literal } kind = Kind::literal;
  std::string name = {};  ///< empty: positional
  std::vector<int> slots = {};
  Value values[2] = {};
};

/// A call of an op; the tensors and numbers of its result go to `outs`.
struct Step {
  std::string op;
  std::vector<Arg> args = {};
  std::vector<int> outs = {};
};

enum class Layout { plain, transposed, strided, shifted, expanded };

struct Input {
  int slot = 0;
  DType dtype = DType::f32;
  Dims sizes;
  Layout layout = Layout::plain;
  int64_t low = -4, high = 9;  ///< integers are in [low, high)
  bool unit = false;           ///< floating values are in (0, 1)
  bool requires_grad = false;
  int view_of = -1;  ///< the number of an input whose memory it shares
};

struct Program {
  uint64_t seed = 0;
  int slots = 0;
  std::vector<Input> inputs;
  std::vector<Step> steps;
  std::vector<int> results;
  bool backward = false;  ///< of the sum of the floating results
};

/// A random program. Every op ran eagerly when it was chosen; `only` says which may be chosen.
Program generate(uint64_t seed, const std::function<bool(const std::string&)>& only);

/// Where programs run (--device); set before the first one is made.
Device& device();
/// Fresh tensors; `variation` 1 has other values than 0.
std::vector<Tensor> make_inputs(const Program& p, int variation);
/// One input; `inputs` are those before it.
Tensor make_input(const Input& in, uint64_t seed, int variation, const std::vector<Tensor>& inputs);
/// The call of one step.
Value run_step(const Step& step, const std::vector<Value>& slots, int variation);
/// Puts a step's result where it belongs.
void keep_result(const Step& step, const Value& result, std::vector<Value>& slots);
/// The results, then the gradients of the leaves (none where nothing depends on them). A slot is released after its
/// last use.
std::vector<Value> run(const Program& p, const std::vector<Tensor>& inputs, int variation);

/// What running a program eagerly and compiled came to.
struct Verdict {
  std::string difference;  ///< empty: the same bits
  bool raised = false;     ///< eager and compiled raised the same error
  bool cut = false;        ///< a call ran in parts
  bool direct = false;     ///< calls were replayed without running the program
  bool matched = false;    ///< the second call ran what the first recorded
};
Verdict check(const Program& p);
/// The least that still differs.
Program shrink(Program p);
/// One op per line.
std::string text(const Program& p);

}  // namespace weft::fuzz
