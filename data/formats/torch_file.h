#pragma once
#include "core/value.h"
#include "data/formats/file.h"
#include "data/formats/zip.h"

namespace weft::formats {

/// What torch.save wrote: the zip format of PyTorch 1.6 and later. Tensors come to the CPU; tensors that shared a
/// storage share one again. Nothing in the file is executed. FileError with the path for anything that is wrong with
/// it.
Value read_torch_zip(const InputFile& file, const ZipReader& zip);
/// The format before 1.6 (torch.save(..., _use_new_zipfile_serialization=False)).
Value read_torch_legacy(const InputFile& file);
/// Writes the zip format so that torch.load(weights_only=True) takes it: whole storages, each once. The same value
/// gives the same bytes. Not committed. Tensors on other devices are copied to the CPU.
void write_torch(AtomicFile& file, const Value& value);

/// Makes each of the n bytes at `data` 0 or 1: a bool read from a file must not be anything else.
void normalise_bools(void* data, uint64_t n);

}  // namespace weft::formats
