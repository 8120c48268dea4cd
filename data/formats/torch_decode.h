#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/value.h"
#include "data/formats/pickle.h"

namespace weft::formats {

/// A storage as a PyTorch pickle names it.
struct StorageName {
  std::string key;
  DType dtype = DType::u8;
  bool untyped = false;  ///< torch.UntypedStorage: `numel` counts bytes, `dtype` says nothing
  int64_t numel = 0;
};

/// PyTorch's class for storages of a dtype ("FloatStorage").
std::string_view storage_class(DType dtype);
/// Whether PyTorch's own data files may contain that name: the rule of torch.load(weights_only=True). Some of these are
/// then refused by the decoder with their reason (complex, quantized, sparse).
bool is_torch_name(std::string_view full_name);

/// Gives the pickle of a PyTorch file its meaning: dicts, lists, numbers, dtypes, and tensors over shared storages, as
/// a Value. Everything is checked: kinds of arguments, bounds of views, nesting (at most 500 levels), no list within
/// itself, hashable keys, text that repeats without end. Every failure is a FileError.
class TorchDecoder {
 public:
  /// Reads the storage of that name into a 1-dim CPU tensor of `dtype` and `numel` elements.
  using ReadStorage = std::function<Tensor(const StorageName&)>;

  TorchDecoder(const Pickle& pickle, std::string path, ReadStorage read_storage);
  Value decode() { return decode(pickle_.root()); }
  /// The meaning of one persistent id; PyTorch's legacy files need it before the tensors.
  StorageName storage_name(Pickle::Id persistent) const;

 private:
  using Id = Pickle::Id;
  using Arguments = std::span<const Id>;

  [[noreturn]] void fail(const std::string& what) const;
  void expect(Id id, PickleKind kind, const char* what) const;
  int64_t expect_integer(Id id, const char* what) const;
  DType expect_dtype(Id id) const;
  Dims expect_dims(Id id, const char* what) const;
  Arguments expect_arguments(Id tuple, size_t at_least, std::string_view function) const;

  Value decode(Id id);
  Value decode_container(Id id);
  Value decode_global(std::string_view name) const;
  Value decode_call(Id id);
  Value call(std::string_view function, Arguments arguments);
  Tensor rebuild(std::string_view function, Arguments arguments);
  Tensor storage(StorageName name);
  void charge(uint64_t bytes);
  void charge_key(const Value& key);

  const Pickle& pickle_;
  std::string path_;
  ReadStorage read_storage_;
  std::unordered_map<Id, Value> done_;  // lists, dicts, calls: they may occur many times
  std::vector<bool> open_;
  std::unordered_map<std::string, std::pair<StorageName, Tensor>> storages_;
  uint64_t charged_ = 0;
  int depth_ = 0;
};

}  // namespace weft::formats
