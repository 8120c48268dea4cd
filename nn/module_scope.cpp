#include <string>
#include <typeinfo>
#include <unordered_map>
#include <vector>

#include "nn/module.h"

namespace weft::nn {
namespace {

/// The modules whose calls run on this thread, and the names found in this recording.
struct Active {
  struct Entry {
    const Module* module;
    std::string path;
  };
  struct Known {
    const std::type_info* type;
    std::string path;
  };
  uint64_t session = 0;
  std::vector<Entry> running;
  std::unordered_map<const Module*, std::unordered_map<const Module*, Known>> names;  ///< by the module around
};
thread_local Active active;

std::string path_in(const Active::Entry& around, const Module& m) {
  auto& known = active.names[around.module];
  auto at = known.find(&m);
  if (at != known.end() && *at->second.type == typeid(m)) return at->second.path;
  std::string path = around.path + "." + m.type_name();                             // for one that belongs to another
  for (const NamedModule& n : const_cast<Module*>(around.module)->named_modules())  // the walk changes nothing
    if (n.module == &m && !n.name.empty()) path = around.path + "." + n.name;
  known.insert_or_assign(&m, Active::Known{&typeid(m), path});
  return path;
}

}  // namespace

void ModuleScope::enter(const Module& m) {
  const auto* hooks = weft::detail::profile_hooks.load(std::memory_order_acquire);
  if (!hooks) return;
  if (const uint64_t session = hooks->session(); session != active.session) {
    active.running.clear();
    active.names.clear();
    active.session = session;
  }
  const std::string type = m.type_name();
  std::string path = active.running.empty() ? type : path_in(active.running.back(), m);
  token_ = hooks->begin({.kind = weft::detail::ProfileKind::module, .name = "nn.Module: " + type, .module = path});
  if (token_) active.running.push_back({&m, std::move(path)});
}

void ModuleScope::leave() {
  const auto* hooks = weft::detail::profile_hooks.load(std::memory_order_acquire);
  if (hooks && hooks->session() == active.session && !active.running.empty()) active.running.pop_back();
  if (hooks) hooks->end(token_);
}

}  // namespace weft::nn
