#pragma once
#include <map>
#include <string>

#include "core/value.h"
#include "data/transfer.h"

namespace weft {

/// Writes a value (nested dicts, lists, numbers, text, tensors of any device) as torch.save does; PyTorch opens it with
/// weights_only=True. Tensors that share memory share it again after loading. The file appears under its name only when
/// complete; if anything fails (full disk, no permission: FileError) a file that was there stays as it was. The same
/// value gives the same bytes.
///
///     save("model.pt", {{"epoch", 3}, {"model_state_dict", model.state_dict()}});
void save(const std::string& path, const Value& value);

/// Reads a file by its content: PyTorch's .pt (zip and the legacy format), .safetensors, .npy (a tensor) and .npz.
/// Tensors come to the CPU, or to the device and dtype asked for: `load("m.pt", {.device = "cuda:0", .dtype =
/// DType::bf16})`. Safe on files of strangers: nothing in them is executed, every length is checked; FileError for
/// anything that is not right.
Value load(const std::string& path, const TransferOptions& o = {});

/// Writes tensors and text metadata as .safetensors, atomically as save() does. Of tensors that are the same view of
/// the same memory (tied weights) only the first is stored; the others are noted in the metadata as "tied:NAME" ->
/// "NAME OF THE FIRST".
void save_safetensors(const std::string& path, const StateDict& tensors,
                      const std::map<std::string, std::string>& metadata = {});
/// Reads a .safetensors file, tied names restored. FileError for anything else than a well-formed file.
StateDict load_safetensors(const std::string& path, const TransferOptions& o = {});
/// Only the metadata of a .safetensors file.
std::map<std::string, std::string> safetensors_metadata(const std::string& path);

/// NumPy's .npy and .npz, atomically as save() does. bf16 has no NumPy dtype (weft::Error).
void save_npy(const std::string& path, const Tensor& tensor);
void save_npz(const std::string& path, const StateDict& tensors);

}  // namespace weft
