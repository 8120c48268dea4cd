#include "data/formats/npy.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <optional>

#include "core/error.h"
#include "data/formats/bytes.h"
#include "data/formats/torch_file.h"

namespace weft::formats {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr uint64_t kHeaderLimit = 1 << 16;
constexpr uint64_t kPreamble = 12;  // magic, version, length of the header (10 bytes in version 1)
constexpr uint64_t kAlignment = 64;

struct DtypeName {
  std::string_view name;
  DType dtype;
};
constexpr DtypeName kDtypes[] = {{"f4", DType::f32}, {"f8", DType::f64}, {"f2", DType::f16},
                                 {"i1", DType::i8},  {"u1", DType::u8},  {"i2", DType::i16},
                                 {"i4", DType::i32}, {"i8", DType::i64}, {"b1", DType::bool_}};

struct Header {
  DType dtype = DType::f32;
  bool big_endian = false, fortran = false;
  Dims sizes;
};

[[noreturn]] void fail(const std::string& where, const std::string& what) {
  WEFT_CHECK_FILE(false, "load: '{}': {}", where, what);
  __builtin_unreachable();
}

/// The header is a Python dict literal: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }. Only that is
/// taken.
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& where) : text_(text), where_(where) {}

  Header parse() {
    Header header;
    bool has_descr = false, has_order = false, has_shape = false;
    expect('{');
    while (!accept('}')) {
      const std::string_view key = quoted();
      expect(':');
      bool* seen = nullptr;
      if (key == "descr") {
        seen = &has_descr;
        read_descr(header);
      } else if (key == "fortran_order") {
        seen = &has_order;
        const std::string_view word = take_while(std::isalpha);
        if (word != "True" && word != "False") wrong();
        header.fortran = word == "True";
      } else if (key == "shape") {
        seen = &has_shape;
        read_shape(header);
      }
      if (!seen || std::exchange(*seen, true)) wrong();
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip_space();
    if (!text_.empty() || !has_descr || !has_order || !has_shape) wrong();
    return header;
  }

 private:
  [[noreturn]] void wrong() const { fail(where_, "its header is not that of a .npy file of numbers"); }
  std::string_view take_while(int (*is)(int)) {
    skip_space();
    size_t n = 0;
    while (n < text_.size() && is(static_cast<unsigned char>(text_[n]))) ++n;
    const std::string_view word = text_.substr(0, n);
    text_.remove_prefix(n);
    return word;
  }
  void skip_space() {
    while (!text_.empty() && (text_[0] == ' ' || text_[0] == '\n')) text_.remove_prefix(1);
  }
  bool accept(char c) {
    skip_space();
    if (text_.empty() || text_[0] != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  void expect(char c) {
    if (!accept(c)) wrong();
  }
  std::string_view quoted() {
    const char quote = accept('"') ? '"' : '\'';
    if (quote == '\'') expect('\'');
    const size_t end = text_.find(quote);
    if (end == std::string_view::npos) wrong();
    const std::string_view inside = text_.substr(0, end);
    text_.remove_prefix(end + 1);
    return inside;
  }
  void read_descr(Header& header) {
    if (accept('[')) fail(where_, "an array of structures; only numbers and bools are supported");
    const std::string_view descr = quoted();
    const auto* known = std::find_if(std::begin(kDtypes), std::end(kDtypes),
                                     [&](auto& d) { return !descr.empty() && d.name == descr.substr(1); });
    if (known == std::end(kDtypes) || std::string_view("<>|=").find(descr[0]) == std::string_view::npos) {
      fail(where_, descr.find('O') != std::string_view::npos
                       ? "an array of Python objects, which are never loaded"
                       : "dtype '" + std::string(descr.substr(0, 40)) + "' is not supported");
    }
    header.dtype = known->dtype;
    header.big_endian = descr[0] == '>';
  }
  void read_shape(Header& header) {
    expect('(');
    while (!accept(')')) {
      const std::string_view digits = take_while(std::isdigit);
      if (digits.empty() || digits.size() > 18) wrong();
      if (header.sizes.size() == kMaxDims)
        fail(where_, "more than " + std::to_string(kMaxDims) + " dimensions, which are not supported");
      header.sizes.push_back(std::stoll(std::string(digits)));
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
  }

  std::string_view text_;
  const std::string& where_;
};

struct ArrayStart {
  Header header;
  uint64_t data_offset = 0;
};

/// Reads the header of an array of `size` bytes through `read(offset, out, n)` and compares its shape with the size.
ArrayStart read_start(uint64_t size, const std::string& where,
                      const std::function<void(uint64_t, void*, uint64_t)>& read) {
  char preamble[kPreamble];
  if (size < kPreamble) fail(where, "too short for a .npy file");
  read(0, preamble, kPreamble);
  if (std::string_view(preamble, kMagic.size()) != kMagic) fail(where, "not a .npy file");
  const int version = preamble[6];
  if (version < 1 || version > 3 || preamble[7] != 0) fail(where, "an unknown version of the .npy format");
  const uint64_t begin = version == 1 ? 10 : 12;
  const uint64_t length = version == 1 ? get<uint16_t>(preamble + 8) : get<uint32_t>(preamble + 8);
  if (length > kHeaderLimit || length > size - begin) fail(where, "the length of its header is wrong");
  std::string text(length, '\0');
  read(begin, text.data(), length);
  ArrayStart start{HeaderParser(text, where).parse(), begin + length};
  uint64_t bytes = itemsize(start.header.dtype);
  for (const int64_t n : start.header.sizes) {
    if (__builtin_mul_overflow(bytes, static_cast<uint64_t>(n), &bytes)) fail(where, "an impossible shape");
  }
  if (bytes != size - start.data_offset) {
    fail(where, "its shape needs " + std::to_string(bytes) + " bytes of data, it has " +
                    std::to_string(size - start.data_offset));
  }
  return start;
}

/// Element i of `from` in Fortran order to its place in C order.
void from_fortran(const char* from, char* to, const Dims& sizes, size_t bytes) {
  const Dims strides = contiguous_strides(sizes);
  Dims at = Dims::filled(sizes.size(), 0);
  int64_t place = 0;
  const int64_t numel = checked_numel(sizes, "load");
  for (int64_t i = 0; i < numel; ++i) {
    std::memcpy(to + static_cast<size_t>(place) * bytes, from + static_cast<size_t>(i) * bytes, bytes);
    for (int d = 0; d < sizes.size(); ++d) {  // the first index runs fastest
      place += strides[d];
      if (++at[d] < sizes[d]) break;
      place -= strides[d] * sizes[d];
      at[d] = 0;
    }
  }
}

/// Turns the file's elements, already in `t`, into the tensor's.
Tensor finish(Tensor t, const Header& header) {
  const auto numel = static_cast<uint64_t>(t.numel());
  const size_t bytes = itemsize(t.dtype());
  if (header.big_endian) swap_bytes(t.data_ptr(), numel, static_cast<unsigned>(bytes));
  if (t.dtype() == DType::bool_) normalise_bools(t.data_ptr(), numel);
  if (!header.fortran || t.dim() < 2) return t;
  Tensor ordered = detail::allocate(header.sizes, header.dtype, Device());
  from_fortran(static_cast<const char*>(t.data_ptr()), static_cast<char*>(ordered.data_ptr()), header.sizes, bytes);
  return ordered;
}

std::string npy_header(const Tensor& t) {
  const auto* known =
      std::find_if(std::begin(kDtypes), std::end(kDtypes), [&](auto& d) { return d.dtype == t.dtype(); });
  WEFT_CHECK(known != std::end(kDtypes), "save: NumPy has no dtype {}; convert the tensor to f32", t.dtype());
  std::string shape;
  for (const int64_t n : t.sizes()) shape += std::to_string(n) + ", ";
  if (t.dim() > 1) shape.resize(shape.size() - 2);
  if (t.dim() == 1) shape.resize(shape.size() - 1);
  std::string dict = std::string("{'descr': '") + (itemsize(t.dtype()) == 1 ? '|' : '<') + std::string(known->name) +
                     "', 'fortran_order': False, 'shape': (" + shape + "), }";
  const uint64_t unpadded = 10 + dict.size() + 1;
  dict.append((kAlignment - unpadded % kAlignment) % kAlignment, ' ');
  dict += '\n';
  std::string head(kMagic);
  head += '\1';
  head += '\0';
  put(head, static_cast<uint16_t>(dict.size()));
  return head + dict;
}

Tensor dense_copy(const Tensor& t) {
  WEFT_CHECK(t.defined(), "save: an undefined tensor");
  return t.detach().to(Device()).contiguous();
}

constexpr std::string_view kSuffix = ".npy";

}  // namespace

bool looks_like_npy(const InputFile& file) {
  char start[6];
  if (file.size() < sizeof start) return false;
  file.read(0, start, sizeof start);
  return std::string_view(start, sizeof start) == kMagic;
}

Tensor read_npy(const InputFile& file) {
  const auto start =
      read_start(file.size(), file.path(), [&](uint64_t offset, void* out, uint64_t n) { file.read(offset, out, n); });
  Tensor t = detail::allocate(start.header.sizes, start.header.dtype, Device());
  file.read(start.data_offset, t.data_ptr(), t.nbytes());
  return finish(std::move(t), start.header);
}

bool looks_like_npz(const ZipReader& zip) {
  return std::all_of(zip.entries().begin(), zip.entries().end(),
                     [](auto& entry) { return entry.name.ends_with(kSuffix); });
}

StateDict read_npz(const InputFile& file, const ZipReader& zip) {
  StateDict result;
  for (const ZipEntry& entry : zip.entries()) {
    const std::string where = file.path() + "/" + entry.name;
    if (!entry.name.ends_with(kSuffix)) fail(where, "not a .npy file");
    const Tensor raw = detail::allocate({static_cast<int64_t>(entry.size)}, DType::u8, Device());
    const char* bytes = static_cast<const char*>(raw.data_ptr());
    zip.read(entry, raw.data_ptr());
    const auto start = read_start(entry.size, where,
                                  [&](uint64_t offset, void* out, uint64_t n) { std::memcpy(out, bytes + offset, n); });
    Tensor t = detail::allocate(start.header.sizes, start.header.dtype, Device());
    if (t.nbytes() > 0) std::memcpy(t.data_ptr(), bytes + start.data_offset, t.nbytes());
    result.set(entry.name.substr(0, entry.name.size() - kSuffix.size()), finish(std::move(t), start.header));
  }
  return result;
}

void write_npy(AtomicFile& file, const Tensor& tensor) {
  const Tensor dense = dense_copy(tensor);
  file.write(npy_header(dense));
  file.write(dense.data_ptr(), dense.nbytes());
}

void write_npz(AtomicFile& file, const StateDict& tensors) {
  ZipWriter zip(file);
  for (const auto& [name, tensor] : tensors) {
    const Tensor dense = dense_copy(tensor);
    std::string content = npy_header(dense);
    content.append(static_cast<const char*>(dense.data_ptr()), dense.nbytes());
    zip.add(name + std::string(kSuffix), content.data(), content.size());
  }
  zip.finish();
}

}  // namespace weft::formats
