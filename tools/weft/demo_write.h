#pragma once
#include <string_view>
#include <vector>

#include "tools/weft/demo.h"

// What `weft demo gpt` writes once it is trained, and with --generate without training.
namespace weft::demo {

/// The numbers of --prompt in a vocabulary (a new line where none is given); weft::Error for an empty one and for
/// characters outside.
std::vector<int64_t> prompt_symbols(const Settings& s, std::u32string_view vocabulary);

/// Text behind the prompt, as the settings say.
Shown write(models::Gpt& model, std::u32string_view vocabulary, const std::vector<int64_t>& prompt, const Settings& s);

/// Text by the model in a checkpoint of `weft demo gpt`, to stdout and --json. FileError for a damaged checkpoint.
int write_only(const Settings& s, const Value& checkpoint);

}  // namespace weft::demo
