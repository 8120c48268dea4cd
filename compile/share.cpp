#include "compile/share.h"

#include <string>
#include <unordered_map>

namespace weft::graph {
namespace {

// What is the same for steps that compute the same. Numbers come with each call: steps that have any are left out.
class Key {
 public:
  explicit Key(const Step& s) {
    add(s.loops);
    add(s.compute);
    add(s.truth);
    for (const Operand& o : s.in) {
      add(o.value);
      place(o);
    }
    place(s.out[0]);
  }
  const std::string& text() const { return text_; }

 private:
  template <class T>
  void add(const T& value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void place(const Operand& o) {
    add(o.dtype);
    add(o.offset);
    add(o.sizes.size());
    for (int64_t s : o.sizes) add(s);
    for (int64_t s : o.strides) add(s);
  }
  std::string text_;
};

bool comparable(const Step& s) {
  if (!s.pointwise() || s.params) return false;
  for (const Operand& o : s.in)
    if (!o.in_memory() || o.value < 0) return false;
  return true;
}

}  // namespace

std::shared_ptr<const Graph> share_common(const Graph& g, const std::vector<char>& alive, Plan& plan) {
  std::vector<int> writes(g.buffers.size(), 0);
  for (const Step& s : g.steps) s.each_written([&](const Operand& o) { ++writes[static_cast<size_t>(o.buffer)]; });

  std::unordered_map<std::string, size_t> seen;
  std::vector<const Operand*> instead(g.buffers.size(), nullptr);  // by buffer
  std::shared_ptr<Graph> made;
  const auto now = [&]() -> const Graph& { return made ? *made : g; };
  for (size_t k = 0; k < g.steps.size(); ++k) {
    if (made)
      for (Operand& o : made->steps[k].in)
        if (const Operand* other = o.in_memory() ? instead[static_cast<size_t>(o.buffer)] : nullptr) {
          o.buffer = other->buffer;
          o.value = other->value;
        }
    const Step& s = now().steps[k];
    if (!comparable(s)) continue;
    const auto b = static_cast<size_t>(s.out[0].buffer);
    if (writes[b] != 1 || !s.out[0].covers(g.buffers[b].bytes)) continue;
    const auto [first, added] = seen.try_emplace(Key(s).text(), k);
    if (added || alive[b]) continue;
    const Operand& same = g.steps[first->second].out[0];
    if (g.buffers[static_cast<size_t>(same.buffer)].bytes != g.buffers[b].bytes) continue;
    if (!made) made = std::make_shared<Graph>(g);
    instead[b] = &same;
    ++plan.shared_ops;
    plan.longer.resize(g.buffers.size());
    plan.longer[static_cast<size_t>(same.buffer)] = 1;
  }
  if (made) made->verify();
  return made;
}

}  // namespace weft::graph
