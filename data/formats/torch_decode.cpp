#include "data/formats/torch_decode.h"

#include <algorithm>

#include "core/error.h"

namespace weft::formats {
namespace {

constexpr int kMaxDepth = 500;

// Names of weights_only files that have no meaning here; known, so that the error can say why.
constexpr std::string_view kOtherStorages[] = {"ComplexDoubleStorage", "ComplexFloatStorage", "QUInt8Storage",
                                               "QInt8Storage",         "QInt32Storage",       "QUInt4x2Storage",
                                               "QUInt2x4Storage"};
constexpr std::string_view kOtherDtypes[] = {
    "uint16",        "uint32",      "uint64",          "complex32",       "complex64",      "complex128",
    "float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2",
    "quint8",        "qint8",       "qint32",          "quint4x2",        "quint2x4"};
constexpr std::string_view kNames[] = {"collections.OrderedDict",
                                       "collections.Counter",
                                       "torch.nn.parameter.Parameter",
                                       "torch.Size",
                                       "torch.Tensor",
                                       "torch.device",
                                       "torch.storage.UntypedStorage",
                                       "_codecs.encode",
                                       "builtins.bytearray",
                                       "builtins.set",
                                       "builtins.complex",
                                       "torch._tensor._rebuild_from_type_v2",
                                       "torch._utils._rebuild_parameter",
                                       "torch._utils._rebuild_parameter_with_state",
                                       "torch._utils._rebuild_tensor",
                                       "torch._utils._rebuild_tensor_v2",
                                       "torch._utils._rebuild_tensor_v3",
                                       "torch._utils._rebuild_device_tensor_from_cpu_tensor",
                                       "torch._utils._rebuild_qtensor",
                                       "torch._utils._rebuild_sparse_tensor",
                                       "torch._utils._rebuild_nested_tensor",
                                       "torch._utils._rebuild_meta_tensor_no_storage",
                                       "torch.serialization._get_layout",
                                       "torch.per_tensor_affine",
                                       "torch.per_tensor_symmetric",
                                       "torch.per_channel_affine",
                                       "torch.per_channel_symmetric",
                                       "torch.per_channel_affine_float_qparams"};

constexpr std::string_view kStorageClasses[kDTypeCount] = {
    "FloatStorage", "DoubleStorage", "BFloat16Storage", "HalfStorage", "CharStorage",
    "ByteStorage",  "ShortStorage",  "IntStorage",      "LongStorage", "BoolStorage"};

template <size_t N>
bool contains(const std::string_view (&list)[N], std::string_view x) {
  return std::find(std::begin(list), std::end(list), x) != std::end(list);
}

bool remove_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

/// "torch.FloatStorage", "torch.cuda.FloatStorage" -> "FloatStorage"; empty for other names.
std::string_view storage_class_of(std::string_view name) {
  if (!remove_prefix(name, "torch.")) return {};
  remove_prefix(name, "cuda.");
  return contains(kStorageClasses, name) || contains(kOtherStorages, name) ? name : std::string_view();
}

/// "torch.bfloat16" -> bf16; "torch.f32" is none, since that is this project's spelling.
bool torch_dtype(std::string_view name, DType& out) {
  return remove_prefix(name, "torch.") && parse_dtype(name, out) && torch_name(out) == name;
}

}  // namespace

std::string_view storage_class(DType dtype) { return kStorageClasses[static_cast<int>(dtype)]; }

bool is_torch_name(std::string_view name) {
  DType dtype;
  if (contains(kNames, name) || torch_dtype(name, dtype) || !storage_class_of(name).empty()) return true;
  return remove_prefix(name, "torch.") && contains(kOtherDtypes, name);
}

TorchDecoder::TorchDecoder(const Pickle& pickle, std::string path, ReadStorage read_storage)
    : pickle_(pickle), path_(std::move(path)), read_storage_(std::move(read_storage)), open_(pickle.count()) {}

void TorchDecoder::fail(const std::string& what) const {
  WEFT_CHECK_FILE(false, "load: '{}': {}", path_, what);
  __builtin_unreachable();
}

void TorchDecoder::expect(Id id, PickleKind kind, const char* what) const {
  if (pickle_.kind(id) != kind) fail(std::string(what) + " is " + pickle_.describe(id));
}
int64_t TorchDecoder::expect_integer(Id id, const char* what) const {
  expect(id, PickleKind::integer, what);
  return pickle_.integer(id);
}
DType TorchDecoder::expect_dtype(Id id) const {
  expect(id, PickleKind::global, "the dtype of a tensor");
  return decode_global(pickle_.text(id)).as_dtype("the dtype of a tensor");
}
TorchDecoder::Arguments TorchDecoder::expect_arguments(Id tuple, size_t at_least, std::string_view function) const {
  expect(tuple, PickleKind::tuple, "the argument list of a call");
  const Arguments arguments = pickle_.children(tuple);
  if (arguments.size() < at_least)
    fail("'" + std::string(function) + "' with only " + std::to_string(arguments.size()) + " arguments");
  return arguments;
}
Dims TorchDecoder::expect_dims(Id id, const char* what) const {
  if (pickle_.kind(id) == PickleKind::call) {  // torch.Size((2, 3))
    const Arguments call = pickle_.children(id);
    if (pickle_.text(call[0]) == "torch.Size") return expect_dims(expect_arguments(call[1], 1, "torch.Size")[0], what);
  }
  if (pickle_.kind(id) != PickleKind::list) expect(id, PickleKind::tuple, what);
  const Arguments items = pickle_.children(id);
  if (items.size() > static_cast<size_t>(kMaxDims)) {
    fail("a tensor of " + std::to_string(items.size()) + " dimensions; at most " + std::to_string(kMaxDims) +
         " are supported");
  }
  Dims dims;
  for (const Id item : items) dims.push_back(expect_integer(item, what));
  return dims;
}

void TorchDecoder::charge(uint64_t bytes) {
  constexpr uint64_t kFree = 64 << 20;
  charged_ += bytes;
  if (charged_ > kFree + 64 * pickle_.consumed()) fail("the same text is repeated far too often");
}
void TorchDecoder::charge_key(const Value& key) {
  charge(16);
  if (key.is_string()) charge(key.as_string().size());
  if (key.is_list()) {
    for (const Value& item : key.as_list()) charge_key(item);
  }
}

Value TorchDecoder::decode(Id id) {
  switch (pickle_.kind(id)) {
    case PickleKind::none:
      return {};
    case PickleKind::boolean:
      return pickle_.integer(id) != 0;
    case PickleKind::integer:
      return pickle_.integer(id);
    case PickleKind::number:
      return pickle_.number(id);
    case PickleKind::global:
      return decode_global(pickle_.text(id));
    case PickleKind::persistent:
      fail("a bare storage; save tensors instead");
    case PickleKind::text:
    case PickleKind::bytes:
    case PickleKind::big_integer: {
      std::string text(pickle_.text(id));
      charge(text.size());
      if (pickle_.kind(id) == PickleKind::text) return text;
      return pickle_.kind(id) == PickleKind::bytes ? Value::bytes(std::move(text))
                                                   : Value::big_integer(std::move(text));
    }
    default:
      break;
  }
  if (const auto found = done_.find(id); found != done_.end()) return found->second;
  if (open_[id]) fail("a list or dict that contains itself");
  if (depth_ >= kMaxDepth) fail("more than " + std::to_string(kMaxDepth) + " levels of nesting");
  open_[id] = true;
  ++depth_;
  Value value = decode_container(id);
  --depth_;
  open_[id] = false;
  return done_.emplace(id, std::move(value)).first->second;
}

Value TorchDecoder::decode_container(Id id) {
  const Arguments children = pickle_.children(id);
  if (pickle_.kind(id) == PickleKind::call) return decode_call(id);
  if (pickle_.kind(id) == PickleKind::dict) {
    Value::Dict dict;
    for (size_t i = 0; i < children.size(); i += 2) {
      const Value key = decode(children[i]);
      charge_key(key);
      try {
        dict.set(key, decode(children[i + 1]));
      } catch (const TypeError& error) {  // a key that cannot be hashed
        fail(error.what());
      }
    }
    return dict;
  }
  Value::List list;
  list.reserve(children.size());
  for (const Id child : children) list.push_back(decode(child));
  switch (pickle_.kind(id)) {
    case PickleKind::tuple:
      return Value::tuple(std::move(list));
    case PickleKind::set:
      return Value::list(std::move(list), Value::ListKind::set);
    default:
      return list;
  }
}

Value TorchDecoder::decode_global(std::string_view name) const {
  DType dtype;
  if (torch_dtype(name, dtype)) return dtype;
  std::string_view rest = name;
  if (remove_prefix(rest, "torch.") && contains(kOtherDtypes, rest))
    fail("dtype '" + std::string(rest) + "' is not supported");
  fail("the name '" + std::string(name) + "' in place of a value");
}

Value TorchDecoder::decode_call(Id id) {
  const Arguments parts = pickle_.children(id);
  const std::string_view function = pickle_.text(parts[0]);
  return call(function, expect_arguments(parts[1], 1, function));
}

Value TorchDecoder::call(std::string_view function, Arguments arguments) {
  if (function == "torch.Size") {
    const Dims dims = expect_dims(arguments[0], "a torch.Size");
    return Value::list(Value::List(dims.begin(), dims.end()), Value::ListKind::size);
  }
  if (function == "torch.device") {
    expect(arguments[0], PickleKind::text, "the name of a device");
    std::string name(pickle_.text(arguments[0]));
    if (arguments.size() > 1) name += ":" + std::to_string(expect_integer(arguments[1], "the index of a device"));
    try {
      return Device(name);
    } catch (const Error&) {
      fail("device '" + name + "' is not supported");
    }
  }
  if (function ==
      "torch._tensor._rebuild_from_type_v2") {  // (function, type, arguments, attributes): attributes are dropped
    if (arguments.size() < 3) fail("a tensor with too few arguments");
    expect(arguments[0], PickleKind::global, "the constructor of a tensor");
    const std::string_view inner = pickle_.text(arguments[0]);
    if (inner == function) fail("a tensor within a tensor");
    return call(inner, expect_arguments(arguments[2], 1, inner));
  }
  if (!remove_prefix(function, "torch._utils._rebuild_")) {
    if (function != "torch.nn.parameter.Parameter") fail("'" + std::string(function) + "' is not supported");
    function = "parameter";
  }
  const bool is_parameter = function == "parameter" || function == "parameter_with_state";
  const bool is_moved = function == "device_tensor_from_cpu_tensor";  // (tensor, dtype, device, requires_grad)
  Tensor tensor;
  bool requires_grad = false;
  if (is_parameter || is_moved) {
    const Value inner = decode(arguments[0]);
    if (!inner.is_tensor()) fail("a parameter that is not a tensor, but " + pickle_.describe(arguments[0]));
    const size_t at = is_moved ? 3 : 1;
    if (arguments.size() > at) {
      expect(arguments[at], PickleKind::boolean, "requires_grad");
      requires_grad = pickle_.integer(arguments[at]);
    } else {
      requires_grad = is_parameter;
    }
    tensor = inner.as_tensor();
    if (is_moved && expect_dtype(arguments.size() > 1 ? arguments[1] : arguments[0]) != tensor.dtype())
      fail("a tensor with two dtypes");
  } else if (function == "tensor" || function == "tensor_v2" || function == "tensor_v3") {
    tensor = rebuild(function, arguments);
    if (function != "tensor") requires_grad = pickle_.integer(arguments[4]);
  } else {
    fail("a " + std::string(function.substr(0, function.find('_'))) + " tensor ('" + std::string(function) +
         "'); only dense tensors are supported");
  }
  if (requires_grad && !is_floating(tensor.dtype())) fail("requires_grad on a tensor of an integer dtype");
  if (requires_grad != tensor.requires_grad()) {
    tensor = detail::alias(tensor);
    tensor.set_requires_grad(requires_grad);
  }
  return tensor;
}

// _rebuild_tensor(storage, offset, size, stride), _v2(..., requires_grad, hooks), _v3(..., requires_grad, hooks, dtype)
Tensor TorchDecoder::rebuild(std::string_view function, Arguments arguments) {
  const size_t needed = function == "tensor" ? 4 : function == "tensor_v2" ? 5 : 7;
  if (arguments.size() < needed) fail("a tensor with only " + std::to_string(arguments.size()) + " arguments");
  expect(arguments[0], PickleKind::persistent, "the storage of a tensor");
  const int64_t offset = expect_integer(arguments[1], "the offset of a tensor");
  const Dims sizes = expect_dims(arguments[2], "the shape of a tensor"),
             strides = expect_dims(arguments[3], "the strides of a tensor");
  if (needed > 4) expect(arguments[4], PickleKind::boolean, "requires_grad");

  StorageName name = storage_name(arguments[0]);
  if (needed == 7) {
    const DType dtype = expect_dtype(arguments[6]);
    if (name.untyped) {
      if (name.numel % static_cast<int64_t>(itemsize(dtype))) fail("storage '" + name.key + "' ends within an element");
      name = {name.key, dtype, false, name.numel / static_cast<int64_t>(itemsize(dtype))};
    } else if (name.dtype != dtype) {
      fail("a tensor and its storage have different dtypes");
    }
  } else if (name.untyped) {
    fail("a tensor without a dtype");
  }

  if (sizes.size() != strides.size()) fail("a tensor whose shape and strides differ in length");
  if (offset < 0) fail("a tensor with a negative offset");
  int64_t numel = 1, last = offset;
  bool overflow = false, is_empty = false;
  for (int i = 0; i < sizes.size(); ++i) {
    if (sizes[i] < 0 || strides[i] < 0) fail("a tensor with a negative size or stride");
    is_empty |= sizes[i] == 0;
    int64_t step = 0;
    overflow |= __builtin_mul_overflow(numel, std::max<int64_t>(sizes[i], 1), &numel);
    overflow |= sizes[i] > 0 && __builtin_mul_overflow(sizes[i] - 1, strides[i], &step);
    overflow |= __builtin_add_overflow(last, step, &last);
  }
  if (overflow) fail("a tensor with more elements than 63 bits can count");
  if (!is_empty && last >= name.numel) {
    fail("a tensor reaches beyond its storage '" + name.key + "' (element " + std::to_string(last) + " of " +
         std::to_string(name.numel) + ")");
  }
  const Tensor flat = storage(std::move(name));
  return detail::alias(flat, sizes, strides, is_empty ? 0 : offset);
}

// PyTorch's persistent id: ('storage', class, key, location, number of elements), legacy files add the metadata of a
// view.
StorageName TorchDecoder::storage_name(Id persistent) const {
  const Arguments id = expect_arguments(pickle_.children(persistent)[0], 5, "persistent id");
  const auto is_name = [&](Id part) {
    return pickle_.kind(part) == PickleKind::text || pickle_.kind(part) == PickleKind::bytes;
  };
  if (!is_name(id[0]) || pickle_.text(id[0]) != "storage") fail("a persistent id that is not a storage");
  expect(id[1], PickleKind::global, "the class of a storage");
  if (!is_name(id[2])) expect(id[2], PickleKind::text, "the key of a storage");
  if (!is_name(id[3])) expect(id[3], PickleKind::text, "the location of a storage");
  if (id.size() > 5 && pickle_.kind(id[5]) != PickleKind::none)
    fail("a storage that is a view, as PyTorch before 0.4 wrote it");

  StorageName name;
  name.key = pickle_.text(id[2]);
  name.numel = expect_integer(id[4], "the length of a storage");
  const std::string_view full_class = pickle_.text(id[1]), plain_class = storage_class_of(full_class);
  const auto* known = std::find(std::begin(kStorageClasses), std::end(kStorageClasses), plain_class);
  if (known != std::end(kStorageClasses))
    name.dtype = static_cast<DType>(known - kStorageClasses);
  else if (full_class == "torch.storage.UntypedStorage")
    name.untyped = true;
  else
    fail(plain_class.empty() ? "'" + std::string(full_class) + "' is not a storage"
                             : "storages of '" + std::string(plain_class) + "' are not supported");
  if (name.numel < 0 || name.numel > INT64_MAX / 8) fail("storage '" + name.key + "' has an impossible length");
  return name;
}

Tensor TorchDecoder::storage(StorageName name) {
  const auto found = storages_.find(name.key);
  if (found == storages_.end()) {
    Tensor flat = read_storage_(name);
    std::string key = name.key;
    return storages_.emplace(std::move(key), std::pair(std::move(name), std::move(flat))).first->second.second;
  }
  const auto& [known, flat] = found->second;
  if (known.dtype != name.dtype || known.numel != name.numel)
    fail("storage '" + name.key + "' is described in two ways");
  return flat;
}

}  // namespace weft::formats
