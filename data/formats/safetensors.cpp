#include "data/formats/safetensors.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "core/error.h"
#include "data/formats/bytes.h"
#include "data/formats/torch_file.h"

namespace weft::formats {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kHeaderLimit = 100'000'000;
constexpr uint64_t kLengthBytes = 8;

struct DtypeName {
  std::string_view name;
  DType dtype;
};
// In the order in which the reference writes them.
constexpr DtypeName kDtypes[] = {{"I64", DType::i64},   {"F64", DType::f64},   {"F32", DType::f32}, {"I32", DType::i32},
                                 {"BF16", DType::bf16}, {"F16", DType::f16},   {"I16", DType::i16}, {"I8", DType::i8},
                                 {"U8", DType::u8},     {"BOOL", DType::bool_}};
static_assert(std::size(kDtypes) == kDTypeCount);

size_t rank_of(DType dtype) {
  return static_cast<size_t>(
      std::find_if(std::begin(kDtypes), std::end(kDtypes), [&](auto& d) { return d.dtype == dtype; }) - kDtypes);
}

struct Entry {
  std::string name, dtype;
  std::vector<uint64_t> shape, offsets;
  bool has_dtype = false, has_shape = false, has_offsets = false;
};

/// Takes the events of the JSON parser and lets through nothing but
/// {"__metadata__": {text: text}, name: {"dtype": text, "shape": [integers], "data_offsets": [begin, end]}}.
class HeaderReader : public nlohmann::json_sax<Json> {
 public:
  std::vector<Entry> entries;
  Metadata metadata;
  std::string problem;  ///< why parsing stopped

  bool start_object(size_t) override {
    if (place_ == Place::start) return go(Place::names);
    if (place_ == Place::entry_value) return go(Place::fields);
    if (place_ == Place::metadata_value) return go(Place::metadata);
    return stop("an object where none belongs");
  }
  bool end_object() override {
    if (place_ == Place::names) return go(Place::end);
    if (place_ == Place::metadata) return go(Place::names);
    const Entry& e = entries.back();
    if (!e.has_dtype || !e.has_shape || !e.has_offsets)
      return stop("tensor '" + e.name + "' lacks dtype, shape or data_offsets");
    return go(Place::names);
  }
  bool key(std::string& text) override {
    if (place_ == Place::names) {
      if (!names_.insert(text).second) return stop("'" + text + "' occurs twice");
      if (text == "__metadata__") return go(Place::metadata_value);
      entries.emplace_back().name = text;
      return go(Place::entry_value);
    }
    if (place_ == Place::metadata) {
      if (metadata.count(text)) return stop("metadata '" + text + "' occurs twice");
      metadata_key_ = text;
      return go(Place::metadata_text);
    }
    Entry& e = entries.back();
    const bool is_dtype = text == "dtype", is_shape = text == "shape";
    if (!is_dtype && !is_shape && text != "data_offsets")
      return stop("tensor '" + e.name + "' has an unknown field '" + text + "'");
    bool& seen = is_dtype ? e.has_dtype : is_shape ? e.has_shape : e.has_offsets;
    if (seen) return stop("tensor '" + e.name + "' has its " + text + " twice");
    seen = true;
    return go(is_dtype ? Place::dtype : is_shape ? Place::shape : Place::offsets);
  }
  bool start_array(size_t) override {
    if (place_ == Place::shape) return go(Place::shape_items);
    if (place_ == Place::offsets) return go(Place::offset_items);
    return stop("a list where none belongs");
  }
  bool end_array() override { return go(Place::fields); }
  bool string(std::string& text) override {
    if (place_ == Place::metadata_text) {
      metadata[metadata_key_] = text;
      return go(Place::metadata);
    }
    if (place_ != Place::dtype) return stop("text where none belongs");
    entries.back().dtype = text;
    return go(Place::fields);
  }
  bool number_unsigned(uint64_t value) override {
    if (place_ != Place::shape_items && place_ != Place::offset_items) return stop("a number where none belongs");
    const bool is_shape = place_ == Place::shape_items;
    std::vector<uint64_t>& list = is_shape ? entries.back().shape : entries.back().offsets;
    if (list.size() == (is_shape ? size_t{kMaxDims} : 2))
      return stop("tensor '" + entries.back().name + "' has too many sizes or offsets");
    list.push_back(value);
    return true;
  }
  bool number_integer(int64_t) override { return stop("a negative number"); }
  bool number_float(double, const std::string& text) override {
    return stop("the number " + text + ", which is not an integer of 64 bits");
  }
  bool boolean(bool) override { return stop("a boolean where none belongs"); }
  bool null() override { return stop("null where it does not belong"); }
  bool binary(Json::binary_t&) override { return stop("binary data"); }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    return stop("no JSON at byte " + std::to_string(position));
  }

 private:
  enum class Place : uint8_t {
    start,
    names,
    entry_value,
    fields,
    dtype,
    shape,
    shape_items,
    offsets,
    offset_items,
    metadata_value,
    metadata,
    metadata_text,
    end
  };
  bool go(Place place) {
    place_ = place;
    return true;
  }
  bool stop(std::string what) {
    problem = std::move(what);
    return false;
  }
  Place place_ = Place::start;
  std::set<std::string> names_;
  std::string metadata_key_;
};

/// Checks the entry against its own numbers; `where` is the first byte of the data it may use.
DType check_entry(const Entry& e, uint64_t where, const std::string& path) {
  const auto* dtype = std::find_if(std::begin(kDtypes), std::end(kDtypes), [&](auto& d) { return d.name == e.dtype; });
  WEFT_CHECK_FILE(dtype != std::end(kDtypes), "load: '{}': tensor '{}' has dtype '{}', which is not supported", path,
                  e.name, e.dtype);
  WEFT_CHECK_FILE(e.offsets.size() == 2 && e.offsets[0] <= e.offsets[1],
                  "load: '{}': the data_offsets of tensor '{}' are not a range", path, e.name);
  WEFT_CHECK_FILE(
      e.offsets[0] == where,
      "load: '{}': tensor '{}' begins at byte {} of the data instead of {}; tensors may not overlap or leave gaps",
      path, e.name, e.offsets[0], where);
  uint64_t bytes = itemsize(dtype->dtype);
  for (const uint64_t size : e.shape) {
    WEFT_CHECK_FILE(!__builtin_mul_overflow(bytes, size, &bytes) && size <= uint64_t{INT64_MAX},
                    "load: '{}': tensor '{}' has an impossible shape", path, e.name);
  }
  WEFT_CHECK_FILE(bytes == e.offsets[1] - e.offsets[0],
                  "load: '{}': tensor '{}' has {} bytes where its shape and dtype need {}", path, e.name,
                  e.offsets[1] - e.offsets[0], bytes);
  return dtype->dtype;
}

uint64_t header_length(const InputFile& file) {
  uint64_t length = 0;
  if (file.size() >= kLengthBytes) file.read(0, &length, sizeof length);
  return length;
}

struct Header {
  std::vector<Entry> entries;
  std::vector<DType> dtypes;  // of the entries
  Metadata metadata;
  uint64_t data_begin = 0;
};

/// Everything but the data, checked against the size of the file.
Header read_header(const InputFile& file) {
  const std::string& path = file.path();
  const uint64_t length = header_length(file);
  WEFT_CHECK_FILE(length > 0, "load: '{}' is not a safetensors file; its header is empty", path);
  WEFT_CHECK_FILE(length <= kHeaderLimit,
                  "load: '{}' is not a safetensors file; its header would have {} bytes, at most {} are allowed", path,
                  static_cast<double>(length), kHeaderLimit);
  WEFT_CHECK_FILE(file.contains(kLengthBytes, length),
                  "load: '{}' is truncated; its header has {} bytes, the file only {}", path, length, file.size());
  std::string header = file.read_text(kLengthBytes, length);
  // The parser would take a zero byte for the end of the text.
  WEFT_CHECK_FILE(header.find('\0') == std::string::npos, "load: '{}': its header contains a zero byte", path);
  HeaderReader reader;
  const bool parsed = Json::sax_parse(header, &reader);
  WEFT_CHECK_FILE(parsed, "load: '{}': its header is not that of a safetensors file; {}", path, reader.problem);
  header = {};

  std::vector<Entry*> order;
  for (Entry& e : reader.entries) order.push_back(&e);
  std::sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->offsets < b->offsets; });
  uint64_t where = 0;
  std::vector<DType> dtypes(reader.entries.size());
  for (const Entry* e : order) {
    dtypes[static_cast<size_t>(e - reader.entries.data())] = check_entry(*e, where, path);
    where = e->offsets[1];
  }
  const uint64_t data_begin = kLengthBytes + length, data_bytes = file.size() - data_begin;
  WEFT_CHECK_FILE(where <= data_bytes, "load: '{}' is truncated; its tensors need {} bytes, it has {}", path, where,
                  data_bytes);
  WEFT_CHECK_FILE(where == data_bytes, "load: '{}' has {} bytes behind its last tensor", path, data_bytes - where);
  return {std::move(reader.entries), std::move(dtypes), std::move(reader.metadata), data_begin};
}

}  // namespace

bool looks_like_safetensors(const InputFile& file) {
  const uint64_t length = header_length(file);
  if (length < 2 || !file.contains(kLengthBytes, length)) return false;
  char first;
  file.read(kLengthBytes, &first, 1);
  return first == '{' || first == ' ' || first == '\n' || first == '\t' || first == '\r';
}

Safetensors read_safetensors(const InputFile& file) {
  Header header = read_header(file);
  Safetensors result{{}, std::move(header.metadata)};
  for (size_t i = 0; i < header.entries.size(); ++i) {
    const Entry& e = header.entries[i];
    Dims sizes;
    for (const uint64_t size : e.shape) sizes.push_back(static_cast<int64_t>(size));
    Tensor t = detail::allocate(sizes, header.dtypes[i], Device());
    file.read(header.data_begin + e.offsets[0], t.data_ptr(), t.nbytes());
    if (t.dtype() == DType::bool_) normalise_bools(t.data_ptr(), t.nbytes());
    result.tensors.set(e.name, std::move(t));
  }
  return result;
}

Metadata read_safetensors_metadata(const InputFile& file) { return read_header(file).metadata; }

void write_safetensors(AtomicFile& file, const StateDict& tensors, const Metadata& metadata) {
  std::vector<const StateDict::Item*> order;
  for (const auto& item : tensors) {
    WEFT_CHECK(item.second.defined(), "save_safetensors: tensor '{}' is undefined", item.first);
    WEFT_CHECK(item.first != "__metadata__", "save_safetensors: '__metadata__' cannot be the name of a tensor");
    order.push_back(&item);
  }
  std::sort(order.begin(), order.end(), [](auto* a, auto* b) {
    return std::pair(rank_of(a->second.dtype()), std::string_view(a->first)) <
           std::pair(rank_of(b->second.dtype()), std::string_view(b->first));
  });
  std::string text = "{";
  try {
    if (!metadata.empty()) text += "\"__metadata__\":" + Json(metadata).dump();
    size_t offset = 0;
    for (const auto* item : order) {
      const Tensor& t = item->second;
      const size_t end = offset + t.nbytes();
      if (text.size() > 1) text += ',';
      text += Json(item->first).dump() + ":{\"dtype\":\"" + std::string(kDtypes[rank_of(t.dtype())].name) +
              "\",\"shape\":" + Json(t.sizes().vec()).dump() + ",\"data_offsets\":" + Json{offset, end}.dump() + "}";
      offset = end;
    }
  } catch (const Json::exception&) {
    WEFT_CHECK(false, "save_safetensors: a name or metadata is not valid UTF-8");
  }
  text += '}';
  text.append((kLengthBytes - text.size() % kLengthBytes) % kLengthBytes, ' ');
  WEFT_CHECK(text.size() <= kHeaderLimit, "save_safetensors: names and metadata take {} bytes; at most {} are allowed",
             text.size(), kHeaderLimit);
  std::string length;
  put(length, static_cast<uint64_t>(text.size()));
  file.write(length);
  file.write(text);
  for (const auto* item : order) {
    const Tensor dense = item->second.detach().to(Device()).contiguous();
    file.write(dense.data_ptr(), dense.nbytes());
  }
}

}  // namespace weft::formats
