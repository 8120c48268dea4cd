#include "data/formats/pickle.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "data/formats/bytes.h"

namespace weft::formats {
namespace {

constexpr uint64_t kMaxObjects = uint64_t{1} << 31;

/// Decimal digits of an integer given as little-endian two's complement.
std::string to_decimal(std::string_view little_endian) {
  const bool negative = !little_endian.empty() && (little_endian.back() & 0x80);
  std::vector<uint8_t> magnitude(little_endian.begin(), little_endian.end());
  if (negative) {
    int carry = 1;
    for (uint8_t& byte : magnitude) {
      carry += static_cast<uint8_t>(~byte);
      byte = static_cast<uint8_t>(carry);
      carry >>= 8;
    }
  }
  std::string digits;
  while (!magnitude.empty()) {
    int rest = 0;
    for (size_t i = magnitude.size(); i-- > 0;) {
      rest = rest * 256 + magnitude[i];
      magnitude[i] = static_cast<uint8_t>(rest / 10);
      rest %= 10;
    }
    digits += static_cast<char>('0' + rest);
    while (!magnitude.empty() && magnitude.back() == 0) magnitude.pop_back();
  }
  if (digits.empty()) digits = "0";
  if (negative) digits += '-';
  std::reverse(digits.begin(), digits.end());
  return digits;
}

/// The inverse of to_decimal.
std::string from_decimal(std::string_view digits) {
  const bool negative = digits.starts_with('-');
  if (negative) digits.remove_prefix(1);
  std::string bytes;
  for (const char digit : digits) {
    WEFT_CHECK(digit >= '0' && digit <= '9', "save: '{}' is not an integer", digits);
    int carry = digit - '0';
    for (char& byte : bytes) {
      carry += static_cast<uint8_t>(byte) * 10;
      byte = static_cast<char>(carry);
      carry >>= 8;
    }
    if (carry) bytes += static_cast<char>(carry);
  }
  if (bytes.empty() || (bytes.back() & 0x80)) bytes += '\0';
  if (negative) {
    int carry = 1;
    for (char& byte : bytes) {
      carry += static_cast<uint8_t>(~byte);
      byte = static_cast<char>(carry);
      carry >>= 8;
    }
  }
  return bytes;
}

/// Each code point below 256 of UTF-8 text as one byte (what _codecs.encode(text, 'latin1') gives); false for anything
/// else.
bool to_latin1(std::string_view text, std::string& out) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    if (byte < 0x80) {
      out += text[i];
      continue;
    }
    if ((byte != 0xc2 && byte != 0xc3) || i + 1 == text.size() || (text[i + 1] & 0xc0) != 0x80) return false;
    out += static_cast<char>((byte & 3) << 6 | (text[++i] & 0x3f));
  }
  return true;
}

}  // namespace

Pickle::Pickle(std::string_view data, bool (*allowed)(std::string_view), std::string path)
    : data_(data), allowed_(allowed), path_(std::move(path)) {
  run();
}

void Pickle::fail(const std::string& what) const {
  WEFT_CHECK_FILE(false, "load: '{}': {} (byte {} of the pickle)", path_, what, at_);
  __builtin_unreachable();
}

std::string_view Pickle::take(uint64_t n) {
  if (n > data_.size() - at_) {
    const std::string what = "load: '" + path_ + "' is truncated: its pickle ends within an instruction";
    throw Truncated(what);  // weft: allowed, its reader retries with more bytes
  }
  const std::string_view part = data_.substr(at_, n);
  at_ += n;
  return part;
}
std::string_view Pickle::take_line() {
  constexpr size_t kLongestName = 1000;
  const size_t end = data_.substr(at_, kLongestName).find('\n');
  if (end == std::string_view::npos && data_.size() - at_ >= kLongestName) fail("a name does not end");
  const std::string_view line = take(end == std::string_view::npos ? end : end + 1);
  return line.substr(0, line.size() - 1);
}
template <class T>
T Pickle::take_number() {
  return get<T>(take(sizeof(T)).data());
}

// What honest pickles hold is proportional to their length. Calls that copy the same long list again and again would
// not be.
void Pickle::charge(uint64_t amount) {
  charged_ += amount;
  if (charged_ > 8 * data_.size() + 1024) fail("the pickle describes far more than it contains");
}

Pickle::Id Pickle::add(const Object& object) {
  if (objects_.size() >= kMaxObjects) fail("the pickle holds too many objects");
  objects_.push_back(object);
  return static_cast<Id>(objects_.size() - 1);
}
void Pickle::push_integer(int64_t value, PickleKind kind) {
  Object object(kind);
  object.integer = value;
  push(add(object));
}
void Pickle::push_text(std::string_view text, PickleKind kind) {
  if (text.size() > UINT32_MAX) fail("a string of more than 4 GiB");
  Object object(kind);
  object.text = text.data();
  object.size = static_cast<uint32_t>(text.size());
  push(add(object));
}
void Pickle::push_own_text(std::string text, PickleKind kind) {
  charge(text.size() / 4);  // decimal digits and full names are longer than what stands for them
  push_text(own_text_.emplace_back(std::move(text)), kind);
}
void Pickle::push_container(PickleKind kind, std::vector<Id> children) {
  charge(children.size());
  Object object(kind);
  object.container = static_cast<uint32_t>(containers_.size());
  containers_.push_back(std::move(children));
  push(add(object));
}
void Pickle::push_long(std::string_view bytes) {
  constexpr size_t kLongest = 1024;
  if (bytes.size() > kLongest) fail("an integer of more than 1024 bytes");
  if (bytes.size() > 8) return push_own_text(to_decimal(bytes), PickleKind::big_integer);
  const bool negative = !bytes.empty() && (bytes.back() & 0x80);
  int64_t value = negative ? -1 : 0;
  std::memcpy(&value, bytes.data(), bytes.size());
  push_integer(value);
}
void Pickle::push_global(std::string name) {
  if (!allowed_(name))
    fail("it names '" + name +
         "', which is not data; only tensors, numbers, text, lists and dicts are loaded, code never");
  push_own_text(std::move(name), PickleKind::global);
}

Pickle::Id Pickle::pop() {
  const Id id = top();
  stack_.pop_back();
  return id;
}
Pickle::Id Pickle::top() const {
  if (stack_.size() <= (marks_.empty() ? 0 : marks_.back())) fail("the pickle's stack is empty");
  return stack_.back();
}
std::vector<Pickle::Id> Pickle::pop_to_mark() {
  if (marks_.empty()) fail("the pickle lacks a mark");
  const auto begin = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
  std::vector<Id> items(begin, stack_.end());
  stack_.erase(begin, stack_.end());
  marks_.pop_back();
  return items;
}
void Pickle::append(std::vector<Id> items) {
  if (kind(top()) != PickleKind::list) fail("it appends to something that is not a list, but " + describe(top()));
  auto& list = containers_[objects_[top()].container];
  list.insert(list.end(), items.begin(), items.end());
}
void Pickle::set_items(std::vector<Id> items) {
  if (items.size() % 2) fail("a key of a dict has no value");
  if (kind(top()) != PickleKind::dict) fail("it sets items of something that is not a dict, but " + describe(top()));
  auto& dict = containers_[objects_[top()].container];
  dict.insert(dict.end(), items.begin(), items.end());
}
void Pickle::add_to_set(std::vector<Id> items) {
  if (kind(top()) != PickleKind::set) fail("it adds to something that is not a set, but " + describe(top()));
  auto& set = containers_[objects_[top()].container];
  set.insert(set.end(), items.begin(), items.end());
}
void Pickle::recall(uint32_t slot) {
  const auto found = memo_.find(slot);
  if (found == memo_.end()) fail("it recalls memo " + std::to_string(slot) + ", which was never set");
  push(found->second);
}

// The constructors of containers and bytes become what they construct; every other call stays a record of the call.
void Pickle::reduce() {
  const Id arguments_id = pop(), function_id = pop();
  if (kind(function_id) != PickleKind::global)
    fail("it calls something that is not a name, but " + describe(function_id));
  if (kind(arguments_id) != PickleKind::tuple)
    fail("it calls with something that is not a tuple, but " + describe(arguments_id));
  const std::string_view function = text(function_id);
  const std::span<const Id> arguments = children(arguments_id);  // the ids stay where they are when containers_ grows
  const auto is = [&](size_t i, PickleKind kind) {
    return arguments.size() > i && objects_[arguments[i]].kind == kind;
  };

  if (function == "collections.OrderedDict" || function == "collections.Counter") {
    std::vector<Id> items;
    if (is(0, PickleKind::dict)) {
      items = containers_[objects_[arguments[0]].container];
    } else if (is(0, PickleKind::list)) {
      for (const Id pair : children(arguments[0])) {
        const bool is_pair =
            (kind(pair) == PickleKind::list || kind(pair) == PickleKind::tuple) && children(pair).size() == 2;
        if (!is_pair) fail("an item of an OrderedDict is not a pair");
        items.insert(items.end(), children(pair).begin(), children(pair).end());
      }
    } else if (!arguments.empty()) {
      fail("an OrderedDict of something else than items");
    }
    push_container(PickleKind::dict, std::move(items));
    objects_.back().attributes_allowed = true;
  } else if (function == "builtins.set") {
    const bool from_items = is(0, PickleKind::list) || is(0, PickleKind::tuple);
    if (!from_items && !arguments.empty()) fail("a set of something else than a list");
    push_container(PickleKind::set, from_items ? containers_[objects_[arguments[0]].container] : std::vector<Id>());
  } else if (function == "_codecs.encode" || function == "builtins.bytearray") {
    std::string bytes;
    if (is(0, PickleKind::bytes))
      bytes = text(arguments[0]);
    else if (is(0, PickleKind::text) ? !(is(1, PickleKind::text) && text(arguments[1]).starts_with("latin") &&
                                         to_latin1(text(arguments[0]), bytes))
                                     : !arguments.empty()) {
      fail("bytes in an encoding other than latin-1");
    }
    push_own_text(std::move(bytes), PickleKind::bytes);
  } else {
    push_container(PickleKind::call, {function_id, arguments_id});
  }
}

void Pickle::build() {
  const Id state = pop();
  if (!objects_[top()].attributes_allowed)
    fail("it sets attributes of something that is not an OrderedDict, but " + describe(top()));
  if (kind(state) != PickleKind::dict) fail("attributes that are not a dict, but " + describe(state));
}

void Pickle::run() {
  for (;;) {
    const auto op = static_cast<uint8_t>(take(1)[0]);
    switch (op) {
      case 0x80: {  // PROTO
        const auto version = static_cast<uint8_t>(take(1)[0]);
        if (version > 5) fail("pickle protocol " + std::to_string(version) + "; 2 to 5 are known");
        break;
      }
      case 0x95:  // FRAME: only a hint for readers that buffer; the instructions themselves are bounded
        take_number<uint64_t>();
        break;
      case '.':
        root_ = pop();
        if (!stack_.empty() || !marks_.empty()) fail("the pickle leaves more than one object");
        return;
      case '(':
        marks_.push_back(stack_.size());
        break;
      case '0':
        if (!marks_.empty() && marks_.back() == stack_.size())
          marks_.pop_back();
        else
          pop();
        break;
      case '1':
        pop_to_mark();
        break;
      case '2':
        push(top());
        break;

      case 'N':
        push_integer(0, PickleKind::none);
        break;
      case 0x88:
        push_integer(1, PickleKind::boolean);
        break;
      case 0x89:
        push_integer(0, PickleKind::boolean);
        break;
      case 'J':
        push_integer(take_number<int32_t>());
        break;
      case 'K':
        push_integer(take_number<uint8_t>());
        break;
      case 'M':
        push_integer(take_number<uint16_t>());
        break;
      case 0x8a:
        push_long(take(take_number<uint8_t>()));
        break;
      case 0x8b: {
        const auto n = take_number<int32_t>();
        if (n < 0) fail("an integer of negative length");
        push_long(take(static_cast<uint64_t>(n)));
        break;
      }
      case 'G': {
        Object object(PickleKind::number);
        object.number = std::bit_cast<double>(__builtin_bswap64(take_number<uint64_t>()));
        push(add(object));
        break;
      }

      case 'X':
        push_text(take(take_number<uint32_t>()));
        break;
      case 0x8c:
        push_text(take(take_number<uint8_t>()));
        break;
      case 0x8d:
        push_text(take(take_number<uint64_t>()));
        break;
      case 'U':
        push_text(take(take_number<uint8_t>()), PickleKind::bytes);
        break;
      case 'T': {
        const auto n = take_number<int32_t>();
        if (n < 0) fail("a string of negative length");
        push_text(take(static_cast<uint64_t>(n)), PickleKind::bytes);
        break;
      }
      case 'C':
        push_text(take(take_number<uint8_t>()), PickleKind::bytes);
        break;
      case 'B':
        push_text(take(take_number<uint32_t>()), PickleKind::bytes);
        break;
      case 0x8e:
      case 0x96:
        push_text(take(take_number<uint64_t>()), PickleKind::bytes);
        break;

      case ')':
        push_container(PickleKind::tuple, {});
        break;
      case 't':
        push_container(PickleKind::tuple, pop_to_mark());
        break;
      case 0x85:
      case 0x86:
      case 0x87: {
        std::vector<Id> items(op - 0x84u);
        for (size_t i = items.size(); i-- > 0;) items[i] = pop();
        push_container(PickleKind::tuple, std::move(items));
        break;
      }
      case ']':
        push_container(PickleKind::list, {});
        break;
      case 'l':
        push_container(PickleKind::list, pop_to_mark());
        break;
      case 'a': {
        const Id item = pop();
        append({item});
        break;
      }
      case 'e':
        append(pop_to_mark());
        break;
      case '}':
        push_container(PickleKind::dict, {});
        break;
      case 'd':
        push_container(PickleKind::dict, pop_to_mark());
        if (children(top()).size() % 2) fail("a key of a dict has no value");
        break;
      case 's': {
        const Id value = pop(), key = pop();
        set_items({key, value});
        break;
      }
      case 'u':
        set_items(pop_to_mark());
        break;
      case 0x8f:
        push_container(PickleKind::set, {});
        break;
      case 0x90:
        add_to_set(pop_to_mark());
        break;
      case 0x91:
        push_container(PickleKind::set, pop_to_mark());
        break;

      case 'q':
        remember(take_number<uint8_t>());
        break;
      case 'r':
        remember(take_number<uint32_t>());
        break;
      case 0x94:
        remember(static_cast<uint32_t>(memo_.size()));
        break;
      case 'h':
        recall(take_number<uint8_t>());
        break;
      case 'j':
        recall(take_number<uint32_t>());
        break;

      case 'c': {
        std::string module(take_line());
        if (module == "__builtin__") module = "builtins";  // Python 2's name, which protocol 2 keeps
        push_global(module + "." + std::string(take_line()));
        break;
      }
      case 0x93: {
        const Id attribute = pop(), module = pop();
        if (kind(attribute) != PickleKind::text || kind(module) != PickleKind::text) fail("a name that is not text");
        push_global(std::string(text(module)) + "." + std::string(text(attribute)));
        break;
      }
      case 'R':
      case 0x81:
        reduce();
        break;  // NEWOBJ constructs: the same record
      case 'b':
        build();
        break;
      case 'Q':
        push_container(PickleKind::persistent, {pop()});
        break;
      default: {
        constexpr char hex[] = "0123456789abcdef";
        fail(std::string("opcode 0x") + hex[op >> 4] + hex[op & 15] +
             ", which is not among those of data in protocols 2 to 5");
      }
    }
  }
}

std::string Pickle::describe(Id id) const {
  constexpr std::string_view names[] = {"None", "a bool", "an int",  "an int", "a float", "a str",  "bytes",
                                        "",     "a list", "a tuple", "a set",  "a dict",  "a call", "a storage"};
  if (kind(id) == PickleKind::global) return "'" + std::string(text(id)) + "'";
  if (kind(id) == PickleKind::call) return "the result of " + describe(children(id)[0]);
  return std::string(names[static_cast<int>(kind(id))]);
}

void PickleWriter::integer(int64_t v) {
  if (v >= 0 && v < 256) {
    code_ += 'K';
    put(code_, static_cast<uint8_t>(v));
  } else if (v >= INT32_MIN && v <= INT32_MAX) {
    code_ += 'J';
    put(code_, static_cast<int32_t>(v));
  } else {
    code_ += "\x8a\x08";
    put(code_, v);
  }
}
void PickleWriter::big_integer(const std::string& digits) {
  const std::string bytes = from_decimal(digits);
  WEFT_CHECK(bytes.size() < 256, "save: an integer of {} digits; at most 600 can be written", digits.size());
  code_ += '\x8a';
  put(code_, static_cast<uint8_t>(bytes.size()));
  code_ += bytes;
}
void PickleWriter::number(double v) {
  code_ += 'G';
  put(code_, __builtin_bswap64(std::bit_cast<uint64_t>(v)));
}
void PickleWriter::text(std::string_view v) {
  WEFT_CHECK(v.size() <= UINT32_MAX, "save: a text of {} bytes; at most 4 GiB can be written", v.size());
  code_ += 'X';
  put(code_, static_cast<uint32_t>(v.size()));
  code_ += v;
}
void PickleWriter::global(std::string_view module, std::string_view name) {
  const std::string line = std::string(module) + "\n" + std::string(name) + "\n";
  const auto [found, added] = memo_.try_emplace(line, static_cast<uint32_t>(memo_.size()));
  code_ += added ? 'c' : 'j';
  if (added) (code_ += line) += 'r';
  put(code_, found->second);
}

}  // namespace weft::formats
