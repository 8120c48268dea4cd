#include "nn/module.h"

#include <cxxabi.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <typeinfo>
#include <unordered_map>
#include <unordered_set>

#include "core/error.h"
#include "core/thread_state.h"

namespace weft::nn {

namespace {
// A member lies within this many bytes of its module; anything farther away is not a member.
constexpr ptrdiff_t kLargestModule = 1 << 20;

Tensor as_parameter(const Tensor& value) {
  if (!value.defined() || (value.requires_grad() && value.is_leaf())) return value;
  Tensor leaf = value.detach();
  leaf.set_requires_grad(true);
  return leaf;
}

std::string join(std::string_view prefix, std::string_view name) {
  return prefix.empty() ? std::string(name) : std::string(prefix) + "." + std::string(name);
}
}  // namespace

Parameter::Parameter(const Tensor& value) : Tensor(as_parameter(value)) {}
Parameter::Parameter(Module& parent, std::string_view name, const Tensor& value) : Parameter(value) {
  parent.register_parameter(name, *this);
}
Buffer::Buffer(Module& parent, std::string_view name, const Tensor& value, bool persistent) : Tensor(value) {
  parent.register_buffer(name, *this, persistent);
}

// ---- registration

void Module::add(std::string_view name, const void* member, EntryKind kind) {
  WEFT_CHECK(!name.empty(), "{}: a member needs a name; give it one", type_name());
  WEFT_CHECK(name.find('.') == name.npos, "{}: the member name \"{}\" holds a dot; dots separate modules", type_name(),
             name);
  for (const Entry& e : entries_)
    WEFT_CHECK(e.name != name, "{}: two members are named \"{}\"; rename one", type_name(), name);
  const ptrdiff_t offset = static_cast<const char*>(member) - reinterpret_cast<const char*>(this);
  WEFT_CHECK(offset > 0 && offset < kLargestModule,
             "{}: \"{}\" is not a member of this module; make it one, or use ModuleList, ModuleDict or Sequential",
             type_name(), name);
  entries_.push_back({std::string(name), offset, kind});
}
void Module::register_parameter(std::string_view name, Tensor& member) {
  if (member.defined() && !member.requires_grad() && is_floating(member.dtype())) member = as_parameter(member);
  add(name, &member, EntryKind::parameter);
}
void Module::register_buffer(std::string_view name, Tensor& member, bool persistent) {
  add(name, &member, persistent ? EntryKind::buffer : EntryKind::temporary_buffer);
}
void Module::register_module(std::string_view name, Module& member) { add(name, &member, EntryKind::module); }

void Module::visit(MemberVisitor& v) {
  for (const Entry& e : entries_) {
    char* member = reinterpret_cast<char*>(this) + e.offset;
    if (e.kind == EntryKind::module) {
      v.child(e.name, *reinterpret_cast<Module*>(member));
      continue;
    }
    Tensor& t = *reinterpret_cast<Tensor*>(member);
    if (!t.defined()) continue;
    v.tensor(e.name, t,
             e.kind == EntryKind::parameter ? MemberVisitor::Kind::parameter
             : e.kind == EntryKind::buffer  ? MemberVisitor::Kind::buffer
                                            : MemberVisitor::Kind::temporary_buffer);
  }
}

// ---- walking

struct ModuleTree {
  using Kind = MemberVisitor::Kind;
  struct Member {
    std::string name;
    Tensor* tensor;
    Kind kind;
  };
  struct Members : MemberVisitor {
    std::vector<Member> tensors;
    std::vector<std::pair<std::string, Module*>> modules;
    void tensor(std::string_view name, Tensor& t, Kind kind) override {
      tensors.push_back({std::string(name), &t, kind});
    }
    void child(std::string_view name, Module& m) override { modules.emplace_back(name, &m); }
  };
  static Members members(Module& m) {
    Members out;
    m.visit(out);
    return out;
  }
  /// Every module in PyTorch's order, repeated ones too unless `once`.
  static void walk(Module& m, const std::string& name, bool once, std::vector<NamedModule>& out) {
    if (once && std::any_of(out.begin(), out.end(), [&](const NamedModule& seen) { return seen.module == &m; })) return;
    out.push_back({name, &m});
    for (const auto& [child, module] : members(m).modules) walk(*module, join(name, child), once, out);
  }
  static std::vector<NamedModule> all(const Module& m, bool once) {
    std::vector<NamedModule> out;
    walk(const_cast<Module&>(m), "", once, out);  // the walk itself changes nothing
    return out;
  }
  static std::vector<NamedTensor> tensors(const Module& m, bool parameters) {
    std::vector<NamedTensor> out;
    std::unordered_set<const TensorImpl*> seen;
    for (const NamedModule& module : all(m, true))
      for (const Member& x : members(*module.module).tensors)
        if ((x.kind == Kind::parameter) == parameters && seen.insert(x.tensor->impl()).second)
          out.push_back({join(module.name, x.name), *x.tensor});
    return out;
  }
  static void each_tensor(Module& m, const std::function<void(Tensor&, Kind)>& f) {
    for (const NamedModule& module : all(m, true))
      for (const Member& x : members(*module.module).tensors) f(*x.tensor, x.kind);
  }
  // Module by module: parameters first, then buffers, then the children.
  static void state(Module& m, const std::string& prefix, std::vector<NamedTensor>& out) {
    Members all = members(m);
    for (Kind kind : {Kind::parameter, Kind::buffer})
      for (const Member& x : all.tensors)
        if (x.kind == kind) out.push_back({join(prefix, x.name), *x.tensor});
    for (const auto& [name, child] : all.modules) state(*child, join(prefix, name), out);
  }
  static std::string repr(Module& m) {
    std::string extra = m.extra_repr(), body;
    for (const auto& [name, child] : members(m).modules) {
      std::string text = "(" + std::string(name) + "): " + repr(*child), indented;
      for (char c : text) indented += c == '\n' ? std::string("\n  ") : std::string(1, c);
      body += "\n  " + indented;
    }
    return m.type_name() + "(" + extra + body + (body.empty() ? ")" : "\n)");
  }
};

namespace {
std::vector<Tensor> only_tensors(std::vector<NamedTensor> named) {
  std::vector<Tensor> out;
  out.reserve(named.size());
  for (NamedTensor& n : named) out.push_back(std::move(n.tensor));
  return out;
}
std::vector<Module*> only_modules(const std::vector<NamedModule>& named) {
  std::vector<Module*> out;
  for (const NamedModule& n : named) out.push_back(n.module);
  return out;
}
}  // namespace

std::vector<NamedTensor> Module::named_parameters() const { return ModuleTree::tensors(*this, true); }
std::vector<Tensor> Module::parameters() const { return only_tensors(named_parameters()); }
std::vector<NamedTensor> Module::named_buffers() const { return ModuleTree::tensors(*this, false); }
std::vector<Tensor> Module::buffers() const { return only_tensors(named_buffers()); }
std::vector<NamedModule> Module::named_modules() { return ModuleTree::all(*this, true); }
std::vector<Module*> Module::modules() { return only_modules(named_modules()); }
std::vector<NamedModule> Module::named_children() {
  std::vector<NamedModule> out;
  for (const auto& [name, m] : ModuleTree::members(*this).modules)
    if (std::none_of(out.begin(), out.end(), [m = m](const NamedModule& seen) { return seen.module == m; }))
      out.push_back({name, m});
  return out;
}
std::vector<Module*> Module::children() { return only_modules(named_children()); }
Module& Module::get_submodule(std::string_view path) {
  for (const NamedModule& m : ModuleTree::all(*this, false))
    if (m.name == path) return *m.module;
  detail::fail_with(detail::Fault::index, "get_submodule: {} holds no module \"{}\"", type_name(), path);
}
Tensor Module::get_parameter(std::string_view path) const {
  std::vector<NamedTensor> all;
  ModuleTree::state(const_cast<Module&>(*this), "", all);
  for (const NamedTensor& n : all)
    if (n.name == path) return n.tensor;
  detail::fail_with(detail::Fault::index, "get_parameter: {} holds no parameter \"{}\"", type_name(), path);
}

// ---- state

void Module::train(bool on) {
  for (Module* m : modules()) m->training_ = on;
}
void Module::apply(const std::function<void(Module&)>& f) {
  for (Module* child : children()) child->apply(f);
  f(*this);
}
void Module::zero_grad(bool set_to_none) {
  for (Tensor& p : parameters()) {
    if (!p.grad().defined()) continue;
    if (set_to_none)
      p.set_grad(Tensor());
    else
      p.set_grad(zeros_like(p.grad()));
  }
}
void Module::requires_grad_(bool on) {
  for (Tensor& p : parameters()) p.set_requires_grad(on);
}

void Module::convert(std::optional<Device> device, std::optional<DType> dtype, MemoryFormat format) {
  WEFT_CHECK_TYPE(!dtype || is_floating(*dtype), "to: {} is not a floating dtype; parameters need one", *dtype);
  NoGrad guard;
  auto converted = [&](Tensor t) {
    if (device) t = t.to(*device);
    if (dtype && is_floating(t.dtype())) t = t.to(*dtype);
    const int dims = format == MemoryFormat::channels_last ? 4 : format == MemoryFormat::channels_last_3d ? 5 : 0;
    if (format != MemoryFormat::preserve && (dims == 0 || t.dim() == dims)) t = t.contiguous(format);
    return t;
  };
  std::unordered_set<const TensorImpl*> done;
  ModuleTree::each_tensor(*this, [&](Tensor& t, MemberVisitor::Kind) {
    if (!done.insert(t.impl()).second) return;
    Tensor value = converted(t.detach()), grad = t.grad();
    if (grad.defined()) t.set_grad(Tensor());
    t.set_data(value);
    if (grad.defined()) t.set_grad(converted(grad.detach()));
  });
}

void Module::unshare() {
  NoGrad guard;
  std::unordered_map<const TensorImpl*, Tensor> copies;
  std::vector<Tensor> keep;  // the originals, so that no address is used twice
  std::unordered_set<const Tensor*> done;
  ModuleTree::each_tensor(*this, [&](Tensor& t, MemberVisitor::Kind) {
    if (!done.insert(&t).second) return;
    keep.push_back(t);
    auto [at, added] = copies.try_emplace(t.impl());
    if (added) {
      at->second = t.detach().clone();
      at->second.set_requires_grad(t.requires_grad());
    }
    t = at->second;
  });
}

StateDict Module::state_dict() const {
  std::vector<NamedTensor> all;
  ModuleTree::state(const_cast<Module&>(*this), "", all);
  StateDict out;
  for (const NamedTensor& n : all) out.set(n.name, n.tensor.detach());
  return out;
}

std::string IncompatibleKeys::str() const {
  std::string text;
  for (const auto& [what, names] :
       {std::pair("missing", &missing), std::pair("unexpected", &unexpected), std::pair("mismatched", &mismatched)})
    for (const std::string& name : *names) text += std::string(text.empty() ? "" : "\n") + what + ": " + name;
  return text;
}

IncompatibleKeys Module::load_state_dict(const StateDict& state, LoadOptions o) {
  std::vector<NamedTensor> own;
  ModuleTree::state(*this, "", own);
  IncompatibleKeys keys;
  std::string problems;
  std::unordered_set<std::string> known;
  std::vector<std::pair<Tensor, const Tensor*>> copies;
  for (const NamedTensor& n : own) {
    known.insert(n.name);
    const Tensor* value = state.find(n.name);
    if (!value) {
      keys.missing.push_back(n.name);
      if (o.strict) problems += detail::format("\n  missing: {} {}", {n.name, n.tensor.sizes()});
    } else if (!value->defined() || value->sizes() != n.tensor.sizes()) {
      keys.mismatched.push_back(n.name);
      if (!o.ignore_mismatched)
        problems += detail::format("\n  shape: {} is {} here, {} in the state",
                                   {n.name, n.tensor.sizes(), value->defined() ? value->sizes() : Dims()});
    } else {
      copies.emplace_back(n.tensor, value);
    }
  }
  for (const auto& [name, value] : state)
    if (!known.count(name)) {
      keys.unexpected.push_back(name);
      if (o.strict)
        problems += detail::format("\n  unexpected: {} {}", {name, value.defined() ? value.sizes() : Dims()});
    }
  WEFT_CHECK(problems.empty(), "load_state_dict: the state does not fit {}; nothing was loaded:{}", type_name(),
             problems);
  NoGrad guard;
  for (auto& [tensor, value] : copies) tensor.copy_(*value);
  return keys;
}

// ---- hooks

namespace {
int64_t next_hook_id() {
  static std::atomic<int64_t> next{1};
  return next.fetch_add(1);
}
}  // namespace

// Copies of a module share the list until one of them changes it.
int64_t Module::register_forward_pre_hook(PreHook hook) {
  auto changed = hooks_ ? std::make_shared<Hooks>(*hooks_) : std::make_shared<Hooks>();
  changed->before.emplace_back(next_hook_id(), std::move(hook));
  hooks_ = changed;
  return changed->before.back().first;
}
int64_t Module::register_forward_hook(Hook hook) {
  auto changed = hooks_ ? std::make_shared<Hooks>(*hooks_) : std::make_shared<Hooks>();
  changed->after.emplace_back(next_hook_id(), std::move(hook));
  hooks_ = changed;
  return changed->after.back().first;
}
void Module::remove_hook(int64_t id) {
  if (!hooks_) return;
  auto changed = std::make_shared<Hooks>(*hooks_);
  std::erase_if(changed->before, [id](const auto& h) { return h.first == id; });
  std::erase_if(changed->after, [id](const auto& h) { return h.first == id; });
  hooks_ = changed->before.empty() && changed->after.empty() ? nullptr : changed;
}
Tensor Module::run_pre_hooks(const Tensor& input) const {
  Tensor x = input;
  const auto keep = hooks_;  // a hook may remove itself
  for (const auto& [id, hook] : keep->before)
    if (Tensor other = hook(const_cast<Module&>(*this), x); other.defined()) x = other;
  return x;
}
Tensor Module::run_hooks(const Tensor& input, Tensor output) const {
  const auto keep = hooks_;
  if (keep)
    for (const auto& [id, hook] : keep->after)
      if (Tensor other = hook(const_cast<Module&>(*this), input, output); other.defined()) output = other;
  return output;
}

// ---- names

std::string Module::type_name() const {
  int status = 0;
  char* demangled = abi::__cxa_demangle(typeid(*this).name(), nullptr, nullptr, &status);
  std::string name = status == 0 ? demangled : typeid(*this).name();
  std::free(demangled);
  if (name.starts_with("weft::nn::Child<") && name.ends_with('>')) name = name.substr(16, name.size() - 17);
  const std::string_view base = std::string_view(name).substr(0, name.find('<'));
  const size_t colon = base.rfind("::");
  return std::string(colon == base.npos ? base : base.substr(colon + 2));
}
std::string Module::str() { return ModuleTree::repr(*this); }

}  // namespace weft::nn
