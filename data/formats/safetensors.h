#pragma once
#include <map>
#include <string>

#include "core/value.h"
#include "data/formats/file.h"

namespace weft::formats {

using Metadata = std::map<std::string, std::string>;

struct Safetensors {
  StateDict tensors;  ///< in the order of the header
  Metadata metadata;
};

/// Reads a .safetensors file as strictly as the reference does, and more: a header of at most 100 MB, well-formed,
/// without duplicate keys; the tensors cover the data exactly, without gaps or overlaps. FileError otherwise.
Safetensors read_safetensors(const InputFile& file);
/// The same checks, but no tensor is read.
Metadata read_safetensors_metadata(const InputFile& file);
/// Whether the file begins as a .safetensors file does.
bool looks_like_safetensors(const InputFile& file);
/// Writes in the reference's order (widest dtype first, then by name), the data aligned to 8 bytes. Tensors need not be
/// contiguous. The same content gives the same bytes. Not committed.
void write_safetensors(AtomicFile& file, const StateDict& tensors, const Metadata& metadata);

}  // namespace weft::formats
