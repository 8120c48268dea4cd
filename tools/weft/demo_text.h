#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace weft::demo {

/// A text as numbers: symbol i is vocabulary[i], a Unicode character, in their order.
struct Corpus {
  std::vector<int32_t> symbols;
  std::u32string vocabulary;
  uint32_t checksum = 0;  ///< CRC-32 of the bytes
};

/// weft's own sources and README, put into the program when it was built.
std::string_view builtin_text();

/// FileError for a file that is empty, not UTF-8, or cannot be read. `path` empty: builtin_text().
Corpus read_corpus(const std::string& path);

/// FileError for what is not UTF-8; `name`: where it is from.
std::u32string from_utf8(std::string_view text, const std::string& name);
std::string to_utf8(std::u32string_view text);
/// Appends one character.
void append_utf8(std::string& out, char32_t c);

namespace detail {
/// `name`: for errors.
Corpus corpus_of(std::string_view text, const std::string& name);
}  // namespace detail

}  // namespace weft::demo
