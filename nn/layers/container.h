#pragma once
#include <concepts>
#include <memory>
#include <string>
#include <vector>

#include "nn/module.h"

namespace weft::nn {

template <class M>
concept IsModule = std::derived_from<std::remove_cvref_t<M>, Module>;

/// Any module that takes a Tensor and gives one, held by value; copying copies the module.
class AnyModule {
 public:
  template <IsModule M>
  AnyModule(M&& module) : held_(std::make_unique<Holder<std::remove_cvref_t<M>>>(std::forward<M>(module))) {}
  AnyModule(const AnyModule& o) : held_(o.held_->copy()) {}
  AnyModule(AnyModule&&) noexcept = default;
  AnyModule& operator=(AnyModule o) noexcept {
    held_ = std::move(o.held_);
    return *this;
  }

  Tensor operator()(const Tensor& x) { return held_->call(x); }
  Module& module() { return held_->module(); }
  /// The module as what it is; TypeError otherwise.
  template <IsModule M>
  M& get() {
    M* m = dynamic_cast<M*>(&module());
    if (!m) fail_get(typeid(M).name());
    return *m;
  }

 private:
  struct Held {
    virtual ~Held() = default;
    virtual std::unique_ptr<Held> copy() const = 0;
    virtual Tensor call(const Tensor& x) = 0;
    virtual Module& module() = 0;
  };
  template <class M>
  struct Holder : Held {
    template <class A>
    explicit Holder(A&& a) : value(std::forward<A>(a)) {}
    std::unique_ptr<Held> copy() const override { return std::make_unique<Holder>(value); }
    Tensor call(const Tensor& x) override { return value(x); }
    Module& module() override { return value; }
    M value;
  };
  [[noreturn]] void fail_get(const char* wanted);

  std::unique_ptr<Held> held_;
};

namespace detail {
inline Module& as_module(Module& m) { return m; }
inline Module& as_module(AnyModule& m) { return m.module(); }
[[noreturn]] void fail_element(const char* container, int64_t index, size_t size);
[[noreturn]] void fail_key(const char* container, std::string_view key, bool taken);
}  // namespace detail

/// Modules one behind the other (torch.nn.Sequential), owned by value and named "0", "1", ...:
/// `Sequential{Linear{3, 4}, ReLU{}}`. Any module that is called with a Tensor and gives one will do.
struct Sequential : Layer<Sequential> {
  Sequential() = default;
  template <IsModule First, IsModule... Rest>
  requires(sizeof...(Rest) > 0 ||
           !std::same_as<std::remove_cvref_t<First>, Sequential>) explicit Sequential(First&& first, Rest&&... rest) {
    push_back(std::forward<First>(first));
    (push_back(std::forward<Rest>(rest)), ...);
  }
  template <IsModule... M>
  Sequential(Module& parent, std::string_view name, M&&... modules) {
    (push_back(std::forward<M>(modules)), ...);
    parent.register_module(name, *this);
  }
  Sequential(const Sequential&) = default;
  Sequential(Sequential&&) noexcept = default;
  Sequential& operator=(const Sequential&) = default;
  Sequential& operator=(Sequential&&) noexcept = default;

  Tensor forward(const Tensor& x);
  Sequential& push_back(AnyModule module) { return push_back(std::to_string(items_.size()), std::move(module)); }
  Sequential& push_back(std::string name, AnyModule module);
  size_t size() const { return items_.size(); }
  bool empty() const { return items_.empty(); }
  /// By position; negative counts from the end.
  AnyModule& operator[](int64_t i);
  template <IsModule M>
  M& get(int64_t i) {
    return (*this)[i].get<M>();
  }

 protected:
  void visit(MemberVisitor& v) override;

 private:
  std::vector<std::pair<std::string, AnyModule>> items_;
};

/// A vector of modules of one type, named "0", "1", ... (torch.nn.ModuleList): `ModuleList<Block> blocks{*this,
/// "blocks"}; blocks.emplace_back(64, 4); for (Block& b : blocks) x = b(x);`. ModuleList<> holds modules of any type.
template <class M = AnyModule>
class ModuleList : public Module {
 public:
  ModuleList() = default;
  ModuleList(Module& parent, std::string_view name) : Module(parent, name) {}

  void push_back(M module) { items_.push_back(std::move(module)); }
  template <class... A>
  M& emplace_back(A&&... a) {
    return items_.emplace_back(std::forward<A>(a)...);
  }
  size_t size() const { return items_.size(); }
  bool empty() const { return items_.empty(); }
  M& operator[](int64_t i) {
    const int64_t n = static_cast<int64_t>(items_.size()), at = i < 0 ? i + n : i;
    if (at < 0 || at >= n) detail::fail_element("ModuleList", i, items_.size());
    return items_[static_cast<size_t>(at)];
  }
  auto begin() { return items_.begin(); }
  auto end() { return items_.end(); }
  void clear() { items_.clear(); }

 protected:
  void visit(MemberVisitor& v) override {
    Module::visit(v);
    for (size_t i = 0; i < items_.size(); ++i) v.child(std::to_string(i), detail::as_module(items_[i]));
  }

 private:
  std::vector<M> items_;
};

/// Modules by name, in the order of insertion (torch.nn.ModuleDict).
template <class M = AnyModule>
class ModuleDict : public Module {
 public:
  ModuleDict() = default;
  ModuleDict(Module& parent, std::string_view name) : Module(parent, name) {}

  /// Error: a name taken.
  M& insert(std::string name, M module) {
    if (contains(name)) detail::fail_key("ModuleDict", name, true);
    return items_.emplace_back(std::move(name), std::move(module)).second;
  }
  bool contains(std::string_view name) const {
    for (const auto& item : items_)
      if (item.first == name) return true;
    return false;
  }
  M& operator[](std::string_view name) {
    for (auto& item : items_)
      if (item.first == name) return item.second;
    detail::fail_key("ModuleDict", name, false);
  }
  size_t size() const { return items_.size(); }
  auto begin() { return items_.begin(); }
  auto end() { return items_.end(); }

 protected:
  void visit(MemberVisitor& v) override {
    Module::visit(v);
    for (auto& [name, m] : items_) v.child(name, detail::as_module(m));
  }

 private:
  std::vector<std::pair<std::string, M>> items_;
};

/// Parameters named "0", "1", ... (torch.nn.ParameterList).
class ParameterList : public Module {
 public:
  ParameterList() = default;
  ParameterList(Module& parent, std::string_view name) : Module(parent, name) {}
  void push_back(const Tensor& value) { items_.emplace_back(value); }
  size_t size() const { return items_.size(); }
  Parameter& operator[](int64_t i);
  auto begin() { return items_.begin(); }
  auto end() { return items_.end(); }

 protected:
  void visit(MemberVisitor& v) override;

 private:
  std::vector<Parameter> items_;
};

}  // namespace weft::nn
