#pragma once
#include <string>

#include "core/value.h"
#include "data/formats/file.h"
#include "data/formats/zip.h"

namespace weft::formats {

/// Whether the file begins as a .npy file does.
bool looks_like_npy(const InputFile& file);
/// A .npy file of versions 1 to 3: numbers and bools of any byte order, C or Fortran order (the tensor is always
/// contiguous). FileError for anything else, also for objects and structures.
Tensor read_npy(const InputFile& file);
/// A .npz file: a zip of .npy files, stored or deflated. The names lose their ".npy".
StateDict read_npz(const InputFile& file, const ZipReader& zip);
/// Whether every entry is a .npy file.
bool looks_like_npz(const ZipReader& zip);
/// Version 1.0, C order. bf16 has no NumPy dtype and is an error. Not committed.
void write_npy(AtomicFile& file, const Tensor& tensor);
/// numpy.savez: a zip of stored .npy files. Not committed.
void write_npz(AtomicFile& file, const StateDict& tensors);

}  // namespace weft::formats
