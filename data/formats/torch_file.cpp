#include "data/formats/torch_file.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <unordered_map>

#include "core/error.h"
#include "data/formats/bytes.h"
#include "data/formats/pickle.h"
#include "data/formats/storages.h"
#include "data/formats/torch_decode.h"

namespace weft::formats {
namespace {

constexpr uint64_t kPickleLimit = uint64_t{1} << 30;

/// Brings elements just read from a file into this machine's form.
void finish_elements(Tensor& flat, bool big_endian) {
  const auto count = static_cast<uint64_t>(flat.numel());
  if (big_endian) swap_bytes(flat.data_ptr(), count, static_cast<unsigned>(itemsize(flat.dtype())));
  if (flat.dtype() == DType::bool_) normalise_bools(flat.data_ptr(), count);
}

[[noreturn]] void fail(const InputFile& file, const std::string& what) {
  WEFT_CHECK_FILE(false, "load: '{}': {}", file.path(), what);
  __builtin_unreachable();
}

/// A legacy file is a row of pickles and then the storages; the length of a pickle is known only once it has been read.
class LegacyReader {
 public:
  explicit LegacyReader(const InputFile& file) : file_(file) {}

  Value read() {
    constexpr std::string_view kMagic = "119547037146038801333356";
    const Pickle magic = next();
    if (magic.kind(magic.root()) != PickleKind::big_integer || magic.text(magic.root()) != kMagic) {
      fail(file_, "a pickle, but not one that torch.save wrote");
    }
    const Pickle version = next();
    if (version.kind(version.root()) != PickleKind::integer || version.integer(version.root()) != 1001) {
      fail(file_, "an unknown version of PyTorch's legacy format");
    }
    const Pickle system = next();
    bool big_endian = false;
    if (system.kind(system.root()) == PickleKind::dict) {
      const auto items = system.children(system.root());
      for (size_t i = 0; i < items.size(); i += 2) {
        const bool is_key = system.kind(items[i]) == PickleKind::text && system.text(items[i]) == "little_endian";
        big_endian |= is_key && system.kind(items[i + 1]) == PickleKind::boolean && !system.integer(items[i + 1]);
      }
    }
    const Pickle content = next();
    const auto content_window = std::move(window_);  // what `content` points into
    const Pickle keys = next();

    std::unordered_map<std::string, StorageName> names;
    TorchDecoder decoder(content, file_.path(),
                         [&](const StorageName& name) { return read_storage(name, big_endian); });
    for (Pickle::Id id = 0; id < content.count(); ++id) {
      if (content.kind(id) != PickleKind::persistent) continue;
      StorageName name = decoder.storage_name(id);
      std::string key = name.key;
      names.emplace(std::move(key), std::move(name));
    }
    if (keys.kind(keys.root()) != PickleKind::list) fail(file_, "the list of its storages is missing");
    for (const Pickle::Id id : keys.children(keys.root())) {
      const auto found = keys.kind(id) == PickleKind::text ? names.find(std::string(keys.text(id))) : names.end();
      if (found == names.end()) fail(file_, "a storage that no tensor uses");
      // A storage is its number of elements, then the elements.
      const StorageName& name = found->second;
      const uint64_t bytes = static_cast<uint64_t>(name.numel) * (name.untyped ? 1 : itemsize(name.dtype));
      int64_t count = 0;
      file_.read(offset_, &count, sizeof count);
      if (count != name.numel) fail(file_, "storage '" + name.key + "' does not have the length that the tensors say");
      offset_ += sizeof count;
      if (!file_.contains(offset_, bytes)) fail(file_, "truncated within storage '" + name.key + "'");
      offsets_.emplace(name.key, offset_);
      offset_ += bytes;
    }
    return decoder.decode();
  }

 private:
  Pickle next() {
    for (uint64_t bytes = 1 << 16;; bytes *= 8) {
      const uint64_t left = file_.size() - offset_, taken = std::min({bytes, left, kPickleLimit});
      window_ = std::make_unique<std::string>(file_.read_text(offset_, taken));
      try {
        Pickle pickle(*window_, is_torch_name, file_.path());
        offset_ += pickle.consumed();
        return pickle;
      } catch (const Pickle::Truncated&) {
        if (taken == left || taken == kPickleLimit) throw;
      }
    }
  }

  Tensor read_storage(const StorageName& name, bool big_endian) const {
    const auto found = offsets_.find(name.key);
    if (found == offsets_.end()) fail(file_, "storage '" + name.key + "' is missing");
    Tensor flat = detail::allocate({name.numel}, name.dtype, Device());
    file_.read(found->second, flat.data_ptr(), flat.nbytes());
    finish_elements(flat, big_endian);
    return flat;
  }

  const InputFile& file_;
  uint64_t offset_ = 0;
  std::unique_ptr<std::string> window_;  // what the latest pickle points into
  std::unordered_map<std::string, uint64_t> offsets_;
};

class TorchEncoder {
 public:
  void write(const Value& value) {
    switch (value.kind()) {
      case Value::Kind::none:
        out_.none();
        break;
      case Value::Kind::boolean:
        out_.boolean(value.as_bool());
        break;
      case Value::Kind::integer:
        out_.integer(value.as_int());
        break;
      case Value::Kind::big_integer:
        out_.big_integer(value.as_big_integer());
        break;
      case Value::Kind::number:
        out_.number(value.as_double());
        break;
      case Value::Kind::string:
        out_.text(value.as_string());
        break;
      case Value::Kind::bytes:
        write_bytes(value.as_bytes());
        break;
      case Value::Kind::dtype:
        out_.global("torch", torch_name(value.as_dtype()));
        break;
      case Value::Kind::device:
        out_.global("torch", "device");
        out_.mark();
        out_.text(value.as_device().str());
        out_.tuple();
        out_.call();
        break;
      case Value::Kind::tensor:
        write_tensor(value.as_tensor());
        break;
      case Value::Kind::list:
        write_list(value);
        break;
      case Value::Kind::dict:
        out_.empty_dict();
        out_.mark();
        for (const auto& [key, item] : value.as_dict()) {
          write(key);
          write(item);
        }
        out_.set_all();
        break;
    }
  }
  std::string finish() { return out_.finish(); }
  /// One tensor per storage, in the order of their keys "0", "1", ...
  const std::vector<Tensor>& storages() const { return storages_.flat(); }

 private:
  // Protocol 2 has no bytes; PyTorch's reader takes what Python 3 writes for them.
  void write_bytes(const std::string& bytes) {
    std::string text;
    for (const char c : bytes) {
      const auto byte = static_cast<uint8_t>(c);
      if (byte >= 0x80) text += static_cast<char>(0xc0 | byte >> 6);
      text += static_cast<char>(byte < 0x80 ? byte : 0x80 | (byte & 0x3f));
    }
    out_.global("_codecs", "encode");
    out_.mark();
    out_.text(text);
    out_.text("latin1");
    out_.tuple();
    out_.call();
  }

  void write_list(const Value& value) {
    const auto kind = value.list_kind();
    const auto write_items = [&] {
      for (const Value& item : value.as_list()) write(item);
    };
    if (kind == Value::ListKind::tuple) {
      out_.mark();
      write_items();
      out_.tuple();
      return;
    }
    const bool is_list = kind == Value::ListKind::list;
    if (!is_list) {
      kind == Value::ListKind::set ? out_.global("__builtin__", "set") : out_.global("torch", "Size");
      out_.mark();
    }
    if (kind == Value::ListKind::size) {
      out_.mark();
      write_items();
      out_.tuple();
    } else {
      out_.empty_list();
      out_.mark();
      write_items();
      out_.append_all();
    }
    if (!is_list) {
      out_.tuple();
      out_.call();
    }
  }

  void write_dims(const Dims& dims) {
    out_.mark();
    for (const int64_t d : dims) out_.integer(d);
    out_.tuple();
  }

  void write_tensor(const Tensor& t) {
    const size_t key = storages_.add(t, "save");
    out_.global("torch._utils", "_rebuild_tensor_v2");
    out_.mark();
    out_.mark();
    out_.text("storage");
    out_.global("torch", storage_class(t.dtype()));
    out_.text(std::to_string(key));
    out_.text("cpu");
    out_.integer(storages_.flat()[key].numel());
    out_.tuple();
    out_.persistent();
    out_.integer(t.storage_offset());
    write_dims(t.sizes());
    write_dims(t.strides());
    out_.boolean(t.requires_grad());
    out_.global("collections", "OrderedDict");
    out_.empty_tuple();
    out_.call();
    out_.tuple();
    out_.call();
  }

  PickleWriter out_;
  Storages storages_;
};

}  // namespace

void normalise_bools(void* data, uint64_t n) {
  auto* p = static_cast<uint8_t*>(data);
  for (uint64_t i = 0; i < n; ++i) p[i] = p[i] != 0;
}

Value read_torch_zip(const InputFile& file, const ZipReader& zip) {
  std::optional<std::string> folder;
  for (const ZipEntry& entry : zip.entries()) {
    const std::string_view name = entry.name;
    if (!name.ends_with("/data.pkl") || name.find('/') != name.size() - 9) continue;
    if (folder) fail(file, "two archives in one file");
    folder = name.substr(0, name.size() - 8);
  }
  if (!folder) fail(file, "a zip archive without data.pkl, so not one that torch.save wrote");
  if (zip.find(*folder + "constants.pkl"))
    fail(file, "a TorchScript archive, which holds code; save the state_dict instead");
  bool big_endian = false;
  if (const ZipEntry* order = zip.find(*folder + "byteorder")) {
    const std::string text = zip.read_text(*order, 16);
    big_endian = text == "big";
    if (!big_endian && text != "little") fail(file, "byte order '" + text + "'");
  }
  const std::string code = zip.read_text(*zip.find(*folder + "data.pkl"), kPickleLimit);
  const Pickle pickle(code, is_torch_name, file.path());
  return TorchDecoder(pickle, file.path(),
                      [&](const StorageName& name) {
                        const ZipEntry* entry = zip.find(*folder + "data/" + name.key);
                        if (!entry) fail(file, "storage '" + name.key + "' is missing");
                        const uint64_t bytes = static_cast<uint64_t>(name.numel) * itemsize(name.dtype);
                        if (entry->size != bytes) {
                          fail(file, "storage '" + name.key + "' has " + std::to_string(entry->size) +
                                         " bytes where its tensors need " + std::to_string(bytes));
                        }
                        Tensor flat = detail::allocate({name.numel}, name.dtype, Device());
                        zip.read(*entry, flat.data_ptr());
                        finish_elements(flat, big_endian);
                        return flat;
                      })
      .decode();
}

Value read_torch_legacy(const InputFile& file) { return LegacyReader(file).read(); }

void write_torch(AtomicFile& file, const Value& value) {
  TorchEncoder encoder;
  encoder.write(value);
  const std::string code = encoder.finish();
  const auto add = [](ZipWriter& to, const char* name, std::string_view text) {
    to.add(name, text.data(), text.size());
  };
  ZipWriter zip(file);
  zip.add("archive/data.pkl", code.data(), code.size());
  add(zip, "archive/byteorder", "little");
  size_t key = 0;
  for (const Tensor& storage : encoder.storages()) {
    const Tensor flat = storage.to(Device());
    zip.add("archive/data/" + std::to_string(key++), flat.data_ptr(), flat.nbytes());
  }
  add(zip, "archive/version", "3\n");
  zip.finish();
}

}  // namespace weft::formats
