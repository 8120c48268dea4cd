#pragma once
#include <cstdint>
#include <deque>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/error.h"

namespace weft::formats {

enum class PickleKind : uint8_t {
  none,
  boolean,
  integer,
  big_integer,
  number,
  text,
  bytes,
  global,  ///< an allowed name, "torch.FloatStorage"; a name and nothing more
  list,
  tuple,
  set,
  dict,       ///< children: key, value, key, value, ...
  call,       ///< children: what is called (a global), the tuple of its arguments. Nothing is called: it is a record
  persistent  ///< child: the persistent id, in PyTorch a tuple that names a storage
};

/// A pickle program, run into a graph of plain data. This is not Python's unpickler: a name is only ever a name,
/// checked against the list given by the caller, and a call is only written down; there is nothing in here that could
/// execute anything. It takes the opcodes of protocols 2 to 5 that data needs. Lists and dicts may occur several times
/// in the graph, and in themselves. Memory is at most a small multiple of the pickle's size. Every failure is a
/// FileError.
class Pickle {
 public:
  using Id = uint32_t;
  /// The pickle ended before its STOP: more bytes may help.
  class Truncated : public FileError {
   public:
    using FileError::FileError;
  };

  /// Reads one pickle from the start of `data`, which must outlive this object. `allowed` says which "module.name" may
  /// appear; `path` is for error texts.
  Pickle(std::string_view data, bool (*allowed)(std::string_view), std::string path);

  Id root() const { return root_; }
  /// Bytes of `data` up to and including STOP.
  size_t consumed() const { return at_; }
  /// Objects have the ids 0 .. count() - 1.
  size_t count() const { return objects_.size(); }
  PickleKind kind(Id id) const { return objects_[id].kind; }
  /// Of integer and boolean.
  int64_t integer(Id id) const { return objects_[id].integer; }
  double number(Id id) const { return objects_[id].number; }
  /// Of text (UTF-8, not checked), bytes, global and big_integer (decimal digits).
  std::string_view text(Id id) const { return {objects_[id].text, objects_[id].size}; }
  /// Of list, tuple, set, dict, call and persistent.
  std::span<const Id> children(Id id) const { return containers_[objects_[id].container]; }
  /// "int", "str", "torch.FloatStorage", ..., for error texts.
  std::string describe(Id id) const;

 private:
  struct Object {
    explicit Object(PickleKind k) : integer(0), kind(k) {}
    union {
      int64_t integer;
      double number;
      const char* text;
      uint32_t container;
    };
    uint32_t size = 0;  // of text
    PickleKind kind;
    bool attributes_allowed = false;  // an OrderedDict, whose attributes (BUILD) are dropped
  };

  void run();
  [[noreturn]] void fail(const std::string& what) const;
  std::string_view take(uint64_t n);
  std::string_view take_line();
  template <class T>
  T take_number();

  Id add(const Object& object);
  void charge(uint64_t amount);
  void push(Id id) { stack_.push_back(id); }
  void push_integer(int64_t value, PickleKind kind = PickleKind::integer);
  void push_text(std::string_view text, PickleKind kind = PickleKind::text);
  void push_own_text(std::string text, PickleKind kind);
  void push_container(PickleKind kind, std::vector<Id> children);
  void push_long(std::string_view little_endian);
  void push_global(std::string name);
  Id pop();
  Id top() const;
  std::vector<Id> pop_to_mark();
  void append(std::vector<Id> items);
  void set_items(std::vector<Id> items);
  void add_to_set(std::vector<Id> items);
  void reduce();
  void build();
  void remember(uint32_t slot) { memo_[slot] = top(); }
  void recall(uint32_t slot);

  std::string_view data_;
  size_t at_ = 0;
  bool (*allowed_)(std::string_view);
  std::string path_;
  std::vector<Object> objects_;
  std::vector<std::vector<Id>> containers_;
  std::deque<std::string> own_text_;
  std::vector<Id> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint32_t, Id> memo_;
  uint64_t charged_ = 0;
  Id root_ = 0;
};

/// Writes a pickle (protocol 2) with the opcodes that torch.load(weights_only=True) takes. The caller nests the calls
/// as the data nests.
class PickleWriter {
 public:
  PickleWriter() { code_ = "\x80\x02"; }
  void none() { code_ += 'N'; }
  void boolean(bool v) { code_ += v ? '\x88' : '\x89'; }
  void integer(int64_t v);
  void big_integer(const std::string& digits);
  void number(double v);
  /// Error from 4 GiB on.
  void text(std::string_view v);
  /// "torch._utils", "_rebuild_tensor_v2"
  void global(std::string_view module, std::string_view name);
  void mark() { code_ += '('; }
  /// Everything since the mark.
  void tuple() { code_ += 't'; }
  void empty_tuple() { code_ += ')'; }
  void empty_list() { code_ += ']'; }
  void empty_dict() { code_ += '}'; }
  /// Everything since the mark into the list, or pairwise into the dict, below it.
  void append_all() { code_ += 'e'; }
  void set_all() { code_ += 'u'; }
  /// Calls the global below with the tuple on top.
  void call() { code_ += 'R'; }
  void persistent() { code_ += 'Q'; }
  /// The finished pickle.
  std::string finish() { return std::move(code_) + "."; }

 private:
  std::string code_;
  std::unordered_map<std::string, uint32_t> memo_;  // globals written so far
};

}  // namespace weft::formats
