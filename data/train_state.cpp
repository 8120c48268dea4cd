#include "data/train_state.h"

#include <algorithm>

#include "core/error.h"
#include "data/serialize.h"

namespace weft {

TrainState& TrainState::add(std::string name, std::function<Value()> state_dict,
                            std::function<void(const Value&)> load_state_dict) {
  WEFT_CHECK(!name.empty(), "TrainState: a part needs a name; give it one");
  for (const Part& p : parts_) WEFT_CHECK(p.name != name, "TrainState: two parts are named \"{}\"; rename one", name);
  parts_.push_back({std::move(name), std::move(state_dict), std::move(load_state_dict)});
  return *this;
}
TrainState& TrainState::add(std::string name, int64_t& number) {
  return add(
      name, [&number] { return Value(number); }, [&number, name](const Value& v) { number = v.as_int(name); });
}
TrainState& TrainState::add(std::string name, double& number) {
  return add(
      name, [&number] { return Value(number); }, [&number, name](const Value& v) { number = v.as_double(name); });
}
TrainState& TrainState::add(std::string name, bool& flag) {
  return add(
      name, [&flag] { return Value(flag); }, [&flag, name](const Value& v) { flag = v.as_bool(name); });
}
TrainState& TrainState::add(std::string name, std::string& text) {
  return add(
      name, [&text] { return Value(text); }, [&text, name](const Value& v) { text = v.as_string(name); });
}
TrainState& TrainState::add(std::string name, Value& value) {
  add(
      std::move(name), [&value] { return value; }, [&value](const Value& v) { value = v; });
  parts_.back().replaced = true;
  return *this;
}
TrainState& TrainState::add(std::string name, Generator& generator) {
  // Files hold signed integers; the 64 bits come back as they were.
  return add(
      std::move(name),
      [&generator]() -> Value {
        const Generator::State s = generator.get_state();
        return {{"seed", static_cast<int64_t>(s.seed)}, {"offset", static_cast<int64_t>(s.offset)}};
      },
      [&generator](const Value& v) {
        generator.set_state({static_cast<uint64_t>(v.at("seed").as_int("seed")),
                             static_cast<uint64_t>(v.at("offset").as_int("offset"))});
      });
}

Value TrainState::state_dict() const {
  Value::Dict out;
  for (const Part& p : parts_) out.set(p.name, p.get());
  return out;
}

void TrainState::load_state_dict(const Value& state, const std::vector<std::string>& ignore) {
  WEFT_CHECK_TYPE(state.is_dict(), "TrainState: expects a dict, got {}", state.kind_name());
  std::string problems;
  for (const Part& p : parts_)
    if (!state.contains(p.name)) problems += "\n  missing: " + p.name;
  const auto known = [&](const std::string& name) {
    return std::any_of(parts_.begin(), parts_.end(), [&](const Part& p) { return p.name == name; }) ||
           std::find(ignore.begin(), ignore.end(), name) != ignore.end();
  };
  for (const auto& [key, value] : state.as_dict())
    if (!key.is_string() || !known(key.as_string())) problems += "\n  unexpected: " + key.str(100);
  WEFT_CHECK(problems.empty(), "TrainState: the state does not fit; nothing was loaded:{}", problems);

  // What was there comes back if a later part does not fit; parts that share memory are copied together. Values that
  // are replaced, not written into, need no copy.
  Value now = state_dict(), before = snapshot(now);
  for (const Part& p : parts_)
    if (p.replaced) before.set(p.name, now.at(p.name));
  const auto restore = [&] {
    for (const Part& p : parts_) p.set(before.at(p.name));
  };
  for (const Part& p : parts_) {
    try {
      p.set(state.at(p.name));
    } catch (const InternalError&) {
      restore();
      throw;
    } catch (const Error& error) {
      problems += "\n  " + p.name + ": " + error.what();
    } catch (...) {
      restore();
      throw;
    }
  }
  if (problems.empty()) return;
  restore();
  WEFT_FAIL("TrainState: the state does not fit; nothing was loaded:{}", problems);
}

void TrainState::save(const std::string& path) const { weft::save(path, state_dict()); }

void TrainState::load(const std::string& path, const TransferOptions& o) { load_state_dict(weft::load(path, o)); }

}  // namespace weft
