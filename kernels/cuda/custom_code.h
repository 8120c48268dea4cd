#pragma once

#include <span>
#include <string>
#include <string_view>

#include "core/code_cache.h"
#include "core/custom_source.h"

// Users' own ops as device code: the kernels of built-in records (pointwise.cuh) around the text of the op.
namespace weft::gpu {

using weft::detail::CodeCache;
using weft::detail::CompiledKernel;

/// Rows of one dtype in 128-bit accesses, and any strides and mix of dtypes by what the op computes in.
enum class CustomKernel : uint8_t { rows_f32, rows_bf16, rows_f16, strided_f32, strided_f64, strided_i64 };

/// What the device compiler sees, and the expression that names the kernel in it. `which`: the gradient of that input;
/// -1: the op.
struct CustomText {
  std::string source, kernel;
};
CustomText custom_text(const CustomOpSource& op, int which, CustomKernel kernel);

/// Code for compute capability `architecture` (90 is 9.0), from `cache` or compiled and stored there. An Error where
/// there is no compiler, or with its words where it refuses the text.
CompiledKernel custom_code(const CustomOpSource& op, int which, CustomKernel kernel, int architecture,
                           CodeCache& cache = CodeCache::standard());

/// A text inside of the program, and what #include calls it.
struct EmbeddedText {
  std::string_view name, text;
};
/// The headers that kernels made at run time are compiled with.
std::span<const EmbeddedText> device_texts();

}  // namespace weft::gpu
