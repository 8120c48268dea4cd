#include "data/serialize.h"

#include <algorithm>
#include <unordered_map>

#include "core/error.h"
#include "data/formats/file.h"
#include "data/formats/npy.h"
#include "data/formats/safetensors.h"
#include "data/formats/torch_file.h"
#include "data/formats/zip.h"

namespace weft {
namespace {

constexpr std::string_view kTied = "tied:";

bool is_same_view(const Tensor& a, const Tensor& b) {
  return a.shares_storage_with(b) && a.dtype() == b.dtype() && a.storage_offset() == b.storage_offset() &&
         a.sizes() == b.sizes() && a.strides() == b.strides();
}

/// Moves names that are the same view as an earlier one from `tensors` to "tied:" notes in `metadata`.
void note_ties(StateDict& tensors, formats::Metadata& metadata) {
  StateDict kept;
  std::unordered_map<const void*, std::vector<const std::string*>> by_address;
  for (const auto& [name, tensor] : tensors) {
    const std::string* first = nullptr;
    if (tensor.defined() && tensor.numel() > 0) {
      auto& names = by_address[tensor.data_ptr()];
      for (const std::string* other : names) {
        if (is_same_view(tensor, *tensors.find(*other))) first = other;
      }
      if (!first) names.push_back(&name);
    }
    if (first)
      metadata[std::string(kTied) + name] = *first;
    else
      kept.set(name, tensor);
  }
  tensors = std::move(kept);
}

void restore_ties(StateDict& tensors, const formats::Metadata& metadata) {
  for (const auto& [key, first] : metadata) {
    if (!key.starts_with(kTied)) continue;
    const std::string name = key.substr(kTied.size());
    const Tensor* tensor = tensors.find(first);
    if (tensor && !tensors.contains(name)) tensors.set(name, Tensor(*tensor));
  }
}

StateDict read_with_ties(const formats::InputFile& file) {
  formats::Safetensors content = formats::read_safetensors(file);
  restore_ties(content.tensors, content.metadata);
  return std::move(content.tensors);
}

Value read_any(const std::string& path) {
  const formats::InputFile file(path);
  if (formats::looks_like_npy(file)) return formats::read_npy(file);
  if (path.ends_with(".safetensors") || formats::looks_like_safetensors(file)) return read_with_ties(file);
  WEFT_CHECK_FILE(file.size() > 0, "load: '{}' is empty", path);
  const std::string start = file.read_text(0, std::min<uint64_t>(file.size(), 4));
  if (start[0] == '\x80') return formats::read_torch_legacy(file);
  WEFT_CHECK_FILE(start == "PK\x03\x04", "load: '{}' is not a file of PyTorch (.pt), safetensors or NumPy", path);
  const formats::ZipReader zip(file);
  if (formats::looks_like_npz(zip)) return formats::read_npz(file, zip);
  return formats::read_torch_zip(file, zip);
}

}  // namespace

void save(const std::string& path, const Value& value) {
  formats::AtomicFile file(path);
  formats::write_torch(file, value);
  file.commit();
}

Value load(const std::string& path, const TransferOptions& o) { return transfer(read_any(path), o); }

void save_safetensors(const std::string& path, const StateDict& tensors,
                      const std::map<std::string, std::string>& metadata) {
  StateDict kept = tensors;
  formats::Metadata notes = metadata;
  note_ties(kept, notes);
  formats::AtomicFile file(path);
  formats::write_safetensors(file, kept, notes);
  file.commit();
}

StateDict load_safetensors(const std::string& path, const TransferOptions& o) {
  return transfer(read_with_ties(formats::InputFile(path)), o).as_state_dict();
}

std::map<std::string, std::string> safetensors_metadata(const std::string& path) {
  return formats::read_safetensors_metadata(formats::InputFile(path));
}

void save_npy(const std::string& path, const Tensor& tensor) {
  formats::AtomicFile file(path);
  formats::write_npy(file, tensor);
  file.commit();
}

void save_npz(const std::string& path, const StateDict& tensors) {
  formats::AtomicFile file(path);
  formats::write_npz(file, tensors);
  file.commit();
}

}  // namespace weft
