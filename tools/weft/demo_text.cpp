#include "tools/weft/demo_text.h"

#include <zlib.h>

#include <algorithm>
#include <unordered_map>

#include "core/error.h"
#include "data/formats/file.h"

// WEFT_DEMO_TEXT: the file that cmake/demo_text.cmake wrote.
__asm__(
    ".section .rodata\n"
    "weft_demo_text_begin:\n"
    ".incbin \"" WEFT_DEMO_TEXT
    "\"\n"
    "weft_demo_text_end:\n"
    ".byte 0\n"
    ".previous\n");
extern "C" const char weft_demo_text_begin[], weft_demo_text_end[];

namespace weft::demo {
namespace {

/// The character at `at`, which moves behind it; FileError for what is no UTF-8.
char32_t next_character(std::string_view text, size_t& at, const std::string& name) {
  const auto lead = static_cast<unsigned char>(text[at]);
  if (lead < 0x80) return text[at++], lead;
  const size_t length = lead >= 0xf0 && lead < 0xf5   ? 4
                        : lead >= 0xe0 && lead < 0xf0 ? 3
                        : lead >= 0xc2 && lead < 0xe0 ? 2
                                                      : 0;
  char32_t c = lead & (0xff >> (length + 1));
  bool right = length > 0 && text.size() - at >= length;
  for (size_t i = 1; right && i < length; ++i) {
    const auto byte = static_cast<unsigned char>(text[at + i]);
    right = (byte & 0xc0) == 0x80;
    c = c << 6 | (byte & 0x3f);
  }
  constexpr char32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
  right = right && c >= kSmallest[length] && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
  WEFT_CHECK_FILE(right, "gpt: '{}' is not UTF-8 text at byte {}; convert it, e.g. with iconv -t UTF-8", name, at);
  at += length;
  return c;
}

}  // namespace

std::string_view builtin_text() {
  return {weft_demo_text_begin, static_cast<size_t>(weft_demo_text_end - weft_demo_text_begin)};
}

std::u32string from_utf8(std::string_view text, const std::string& name) {
  std::u32string characters;
  characters.reserve(text.size());
  for (size_t at = 0; at < text.size();) characters += next_character(text, at, name);
  return characters;
}

Corpus read_corpus(const std::string& path) {
  if (path.empty()) return detail::corpus_of(builtin_text(), "weft's own sources");
  const formats::InputFile file(path);
  return detail::corpus_of(file.read_text(0, file.size()), path);
}

Corpus detail::corpus_of(std::string_view text, const std::string& name) {
  WEFT_CHECK_FILE(!text.empty(), "gpt: '{}' is empty; give a text to learn from", name);
  Corpus corpus;
  corpus.checksum = static_cast<uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(text.data()), text.size()));
  const std::u32string characters = from_utf8(text, name);

  // Tables over all characters there are: 136 kB and at most 4 MB, no search.
  std::vector<bool> seen(0x110000);
  for (char32_t c : characters) seen[c] = true;
  for (char32_t c = 0; c < seen.size(); ++c)
    if (seen[c]) corpus.vocabulary += c;
  std::vector<int32_t> number(corpus.vocabulary.back() + size_t{1});
  for (size_t i = 0; i < corpus.vocabulary.size(); ++i) number[corpus.vocabulary[i]] = static_cast<int32_t>(i);
  corpus.symbols.reserve(characters.size());
  for (char32_t c : characters) corpus.symbols.push_back(number[c]);
  return corpus;
}

void append_utf8(std::string& out, char32_t c) {
  auto tail = [&](int shift) { out += static_cast<char>(0x80 | (c >> shift & 0x3f)); };
  if (c < 0x80) {
    out += static_cast<char>(c);
  } else if (c < 0x800) {
    out += static_cast<char>(0xc0 | c >> 6);
    tail(0);
  } else if (c < 0x10000) {
    out += static_cast<char>(0xe0 | c >> 12);
    tail(6), tail(0);
  } else {
    out += static_cast<char>(0xf0 | c >> 18);
    tail(12), tail(6), tail(0);
  }
}

std::string to_utf8(std::u32string_view text) {
  std::string out;
  for (char32_t c : text) append_utf8(out, c);
  return out;
}

}  // namespace weft::demo
