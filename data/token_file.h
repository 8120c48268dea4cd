#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "core/tensor.h"

namespace weft::data {

/// How a token is stored, little-endian.
enum class TokenType : uint8_t { u8, u16, u32, i32, i64 };

struct TokenFileOptions {
  TokenType dtype = TokenType::u16;
  int64_t block = 1024;  ///< tokens in a window
  int64_t stride = 0;    ///< between the beginnings of windows; 0: block, so that every token is predicted once
  int64_t offset = 0;    ///< bytes of a header in front of the tokens
};

/// A file of tokens, mapped into memory, as windows for next-token prediction: sample i is x = tokens [i stride, +
/// block) and y, the same one token later; both i64 [block], in batches [batch, block]. The file must not become
/// shorter while it is used. FileError when it is no multiple of a token, or has no whole window.
class TokenFile {
 public:
  explicit TokenFile(const std::string& path, const TokenFileOptions& options = {});
  /// Windows.
  int64_t size() const { return windows_; }
  /// Tokens in the file.
  int64_t tokens() const { return tokens_; }
  int64_t token(int64_t index) const;
  std::pair<Tensor, Tensor> get(int64_t index) const;
  std::pair<Tensor, Tensor> get_batch(std::span<const int64_t> indices) const;

 private:
  void copy(int64_t first, int64_t n, int64_t* out) const;

  TokenFileOptions options_;
  std::shared_ptr<const unsigned char> data_;  ///< the first token
  int64_t tokens_ = 0, windows_ = 0;
};

}  // namespace weft::data
