#pragma once
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/profile.h"
#include "core/tensor.h"
#include "core/value.h"

namespace weft::nn {

namespace detail {
using namespace weft::detail;
}
class Module;

/// A tensor that a module owns under a name and that optimizers train (torch.nn.Parameter):
/// `nn::Parameter weight{*this, "weight", randn({4, 3})};` as a member. An undefined tensor means none. It has to be a
/// member of the module it names, not something on the heap.
class Parameter : public Tensor {
 public:
  Parameter() = default;
  Parameter(Module& parent, std::string_view name, const Tensor& value);
  /// A leaf that requires grad over the memory of `value`; `value` itself when it is one already.
  explicit Parameter(const Tensor& value);
  Parameter(const Parameter&) = default;
  Parameter(Parameter&&) noexcept = default;
  Parameter& operator=(const Parameter&) = default;
  Parameter& operator=(Parameter&&) noexcept = default;
  Parameter& operator=(const Tensor& value) { return *this = Parameter(value); }
};

/// A tensor that is a part of a module's state but is not trained: running statistics, masks. Those that are not
/// persistent are left out of state_dict().
class Buffer : public Tensor {
 public:
  Buffer() = default;
  Buffer(Module& parent, std::string_view name, const Tensor& value, bool persistent = true);
  Buffer(const Buffer&) = default;
  Buffer(Buffer&&) noexcept = default;
  Buffer& operator=(const Buffer&) = default;
  Buffer& operator=(Buffer&&) noexcept = default;
  Buffer& operator=(const Tensor& value) {
    static_cast<Tensor&>(*this) = value;
    return *this;
  }
};

struct NamedTensor {
  std::string name;
  Tensor tensor;
};
struct NamedModule {
  std::string name;
  Module* module;
};
/// What a load_state_dict() that is not strict left alone.
struct IncompatibleKeys {
  std::vector<std::string> missing, unexpected;
  std::vector<std::string> mismatched;  ///< of another shape: only with ignore_mismatched
  bool empty() const { return missing.empty() && unexpected.empty() && mismatched.empty(); }
  /// A line per name; empty when all was loaded.
  std::string str() const;
};
struct LoadOptions {
  bool strict = true;              ///< missing and unexpected names are errors
  bool ignore_mismatched = false;  ///< tensors of another shape are left alone (a new head) instead of an error
};

/// Sees the direct members of a module in the order of their registration.
class MemberVisitor {
 public:
  enum class Kind : uint8_t { parameter, buffer, temporary_buffer };
  virtual ~MemberVisitor() = default;
  /// Undefined tensors (a layer without bias) are not shown.
  virtual void tensor(std::string_view name, Tensor& t, Kind kind) = 0;
  virtual void child(std::string_view name, Module& m) = 0;
};

/// Base of everything with parameters (torch.nn.Module). A module is a value; its members register themselves by name:
///
///     struct Mlp : nn::Module {
///       nn::Linear up{*this, "up", 384, 1536}, down{*this, "down", 1536, 384};
///       Tensor operator()(const Tensor& x) { return down(relu(up(x))); }
///     };
///
/// Copies share the parameters, as copies of Tensors do (`decoder.weight = encoder.weight` ties two layers);
/// clone(model) has its own. The registry keeps where in the module a member lies, so copies, moves, vectors of modules
/// and returning them by value just work; do not copy a derived module into a variable of its base class.
class Module {
 public:
  Module() = default;
  /// A child of `parent`, of which it must be a member: `Block(Module& parent, std::string_view name, int width) :
  /// Module(parent, name)` lets users write `Block block{*this, "block", 64}`.
  Module(Module& parent, std::string_view name) { parent.register_module(name, *this); }
  Module(const Module&) = default;
  Module(Module&&) noexcept = default;
  Module& operator=(const Module&) = default;
  Module& operator=(Module&&) noexcept = default;
  virtual ~Module() = default;

  // ---- registration, for members. Errors: an empty name, a dot in it, a name taken, not a member of this module.
  void register_parameter(std::string_view name, Tensor& member);
  void register_buffer(std::string_view name, Tensor& member, bool persistent = true);
  /// A member may have several names; state_dict() then lists it under each.
  void register_module(std::string_view name, Module& member);

  // ---- what is in it. Tied tensors and modules appear once, under their first name.
  std::vector<Tensor> parameters() const;
  std::vector<NamedTensor> named_parameters() const;
  std::vector<Tensor> buffers() const;
  std::vector<NamedTensor> named_buffers() const;
  /// Itself (name "") and all below.
  std::vector<NamedModule> named_modules();
  std::vector<Module*> modules();
  std::vector<NamedModule> named_children();
  std::vector<Module*> children();
  /// By dotted name; IndexError otherwise.
  Module& get_submodule(std::string_view path);
  Tensor get_parameter(std::string_view path) const;

  // ---- state
  /// Training or evaluation behaviour of this and all below (dropout, batch norm).
  void train(bool on = true);
  void eval() { train(false); }
  bool is_training() const { return training_; }
  /// Floating parameters and buffers to another dtype, everything to another device, 4-dim (5-dim) parameters to a
  /// memory format: in place, so that optimizers and ties keep them.
  void to(DType dtype) { convert(std::nullopt, dtype, MemoryFormat::preserve); }
  void to(Device device) { convert(device, std::nullopt, MemoryFormat::preserve); }
  void to(Device device, DType dtype) { convert(device, dtype, MemoryFormat::preserve); }
  void to(MemoryFormat format) { convert(std::nullopt, std::nullopt, format); }
  /// Calls f with every module below, children before their parents, then with this one.
  void apply(const std::function<void(Module&)>& f);
  /// Forgets the gradients, or fills them with zeros.
  void zero_grad(bool set_to_none = true);
  void requires_grad_(bool on = true);

  /// All parameters and persistent buffers by dotted name, without history; they share the module's memory. Tied ones
  /// are listed under each name.
  StateDict state_dict() const;
  /// Copies values into the tensors that are there, converting dtypes and devices. One error names all missing,
  /// unexpected and mismatched entries, and then nothing has been changed; what the options allow is in the result.
  IncompatibleKeys load_state_dict(const StateDict& state, LoadOptions o = {});

  // ---- hooks of modules derived from nn::Layer, whose forward() is called through operator(). They see the first
  // argument and the result, where those are tensors; a defined tensor that they return takes its place.
  using PreHook = std::function<Tensor(Module& self, const Tensor& input)>;
  using Hook = std::function<Tensor(Module& self, const Tensor& input, const Tensor& output)>;
  /// Both return an id for remove_hook.
  int64_t register_forward_pre_hook(PreHook hook);
  int64_t register_forward_hook(Hook hook);
  void remove_hook(int64_t id);

  /// The class, as PyTorch prints it: "Linear".
  std::string type_name() const;
  /// The tree of modules, as PyTorch prints it.
  std::string str();

 protected:
  /// Shows the direct members. Containers, whose members are no C++ members, override it.
  virtual void visit(MemberVisitor& v);
  /// What str() shows in parentheses: "in_features=3, out_features=4".
  virtual std::string extra_repr() const { return {}; }

  struct Hooks {
    std::vector<std::pair<int64_t, PreHook>> before;
    std::vector<std::pair<int64_t, Hook>> after;
  };
  /// Null when there are none.
  const Hooks* hooks() const { return hooks_.get(); }
  Tensor run_pre_hooks(const Tensor& input) const;
  Tensor run_hooks(const Tensor& input, Tensor output) const;

 private:
  template <class M>
  requires std::derived_from<M, Module>
  friend M clone(const M& module);
  friend struct ModuleTree;

  enum class EntryKind : uint8_t { parameter, buffer, temporary_buffer, module };
  struct Entry {
    std::string name;
    ptrdiff_t offset;
    EntryKind kind;
  };
  void add(std::string_view name, const void* member, EntryKind kind);
  void convert(std::optional<Device> device, std::optional<DType> dtype, MemoryFormat format);
  /// Gives every tensor memory of its own; tensors that were one stay one.
  void unshare();

  std::vector<Entry> entries_;
  std::shared_ptr<const Hooks> hooks_;
  bool training_ = true;
};

/// A module like `module` with parameters and buffers of its own (copy.deepcopy); what is tied stays tied.
template <class M>
requires std::derived_from<M, Module> M clone(const M& module) {
  M copy = module;
  copy.unshare();
  return copy;
}

/// Any module as a named member: `nn::Child<Block> block{*this, "block", 64, 4};` for a Block(int, int).
template <class M>
struct Child : M {
  template <class... A>
  Child(Module& parent, std::string_view name, A&&... arguments) : M(std::forward<A>(arguments)...) {
    parent.register_module(name, *this);
  }
};

/// While it lives, what runs counts to this module in a profile. Calls of an nn::Layer hold one; an operator() of
/// another module may: `nn::ModuleScope scope(*this);`. The name is that under the module around it, "Gpt.blocks.0".
class ModuleScope {
 public:
  explicit ModuleScope(const Module& m) {
    if (weft::detail::profiling()) [[unlikely]]
      enter(m);
  }
  ~ModuleScope() {
    if (token_) leave();
  }
  ModuleScope(const ModuleScope&) = delete;
  ModuleScope& operator=(const ModuleScope&) = delete;

 private:
  void enter(const Module& m);
  void leave();
  uint64_t token_ = 0;
};

/// Base of modules with hooks: `struct Mlp : nn::Layer<Mlp> { Tensor forward(const Tensor& x); }` is called as
/// model(x).
template <class Self>
class Layer : public Module {
 public:
  using Module::Module;
  template <class... A, class S = Self>
  auto operator()(A&&... a) requires requires(S& self) {
    self.forward(std::forward<A>(a)...);
  }
  { return invoke(static_cast<Self&>(*this), std::forward<A>(a)...); }
  template <class... A, class S = Self>
  auto operator()(A&&... a) const requires requires(const S& self) {
    self.forward(std::forward<A>(a)...);
  }
  { return invoke(static_cast<const Self&>(*this), std::forward<A>(a)...); }

 private:
  template <class S, class First, class... A>
  static auto invoke(S& self, First&& first, A&&... rest) {
    const ModuleScope scope(self);
    using Result = decltype(self.forward(std::forward<First>(first), std::forward<A>(rest)...));
    constexpr bool tensor_in = std::is_convertible_v<First&&, const Tensor&>;
    constexpr bool tensor_out = std::is_same_v<std::remove_cvref_t<Result>, Tensor>;
    if constexpr (tensor_in && tensor_out) {
      if (self.hooks()) [[unlikely]] {
        Tensor input = self.run_pre_hooks(first);
        return self.run_hooks(input, self.forward(input, std::forward<A>(rest)...));
      }
    }
    return Result(self.forward(std::forward<First>(first), std::forward<A>(rest)...));
  }
};

}  // namespace weft::nn
