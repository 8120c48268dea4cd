#pragma once
#include <concepts>
#include <functional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "core/random.h"
#include "core/value.h"
#include "data/transfer.h"

namespace weft {

/// Everything that a training run is made of, under one name each, saved and loaded as one: whatever has state_dict()
/// and load_state_dict() (models, optimizers, schedulers, gradient scalers, data loaders, averaged models), random
/// generators, and plain numbers and texts.
///
///     TrainState state;
///     state.add("model_state_dict", model).add("optimizer_state_dict", optimizer).add("step", step);
///     state.add("rng", default_generator());
///     state.save("last.pt");                       // PyTorch opens it with weights_only=True
///     state.load("last.pt");                       // and training goes on with the same bits
///
/// It refers to the objects, which must outlive it. Not for several threads at once.
class TrainState {
 public:
  /// An object with `state_dict() const`, giving a Value or a StateDict, and load_state_dict() taking the same.
  /// weft::Error when the name is empty or taken.
  template <class T>
  requires requires(const T& saved, T& loaded) {
    Value(saved.state_dict());
    loaded.load_state_dict(saved.state_dict());
  }
  TrainState& add(std::string name, T& object) {
    return add(
        name, [&object] { return Value(object.state_dict()); },
        [&object, name](const Value& state) {
          if constexpr (std::same_as<std::remove_cvref_t<decltype(object.state_dict())>, StateDict>)
            object.load_state_dict(state.as_state_dict(name));
          else
            object.load_state_dict(state);
        });
  }
  TrainState& add(std::string name, int64_t& number);
  TrainState& add(std::string name, double& number);
  TrainState& add(std::string name, bool& flag);
  TrainState& add(std::string name, std::string& text);
  /// Any value: a loss history, notes.
  TrainState& add(std::string name, Value& value);
  /// {"seed": int, "offset": int}
  TrainState& add(std::string name, Generator& generator);
  /// Anything else, through two functions.
  TrainState& add(std::string name, std::function<Value()> state_dict,
                  std::function<void(const Value&)> load_state_dict);

  /// A dict from names to states, in the order of add(). Tensors are those of the objects (snapshot() copies them).
  Value state_dict() const;
  /// Loads every part. `ignore` names entries of `state` that belong to nobody here. All or nothing: where a part is
  /// missing, unexpected or does not fit, one weft::Error names them all and everything is as it was.
  void load_state_dict(const Value& state, const std::vector<std::string>& ignore = {});

  /// state_dict() in a file; FileError as weft::save().
  void save(const std::string& path) const;
  /// FileError when the file cannot be read, weft::Error when it does not fit.
  void load(const std::string& path, const TransferOptions& o = {});

 private:
  struct Part {
    std::string name;
    std::function<Value()> get;
    std::function<void(const Value&)> set;
    bool replaced = false;  ///< set() takes another value and leaves the old one's tensors alone
  };
  std::vector<Part> parts_;
};

}  // namespace weft
