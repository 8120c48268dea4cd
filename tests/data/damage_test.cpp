// Files that are broken, or made to harm.
#include <zlib.h>

#include <functional>
#include <map>

#include "core/error.h"
#include "data/formats/bytes.h"
#include "data/formats/pickle.h"
#include "data/formats/torch_decode.h"
#include "data/serialize.h"
#include "tests/catch.h"
#include "tests/data/helpers.h"
#include "tests/data/memory_file.h"

using namespace weft;
using namespace weft::test;
using formats::put;

namespace {

/// The pickle's value, or the text of the error.
Value decode(const std::string& code) {
  const formats::Pickle pickle(code, formats::is_torch_name, "x");
  const auto storage = [](const formats::StorageName& name) { return empty({name.numel}, {.dtype = name.dtype}); };
  return formats::TorchDecoder(pickle, "x", storage).decode();
}
std::string refusal(const std::string& code) {
  return error_of([&] { decode(code); });
}
std::string op32(char op, uint32_t value) {
  std::string out(1, op);
  put(out, value);
  return out;
}

/// A zip entry by hand, so that every field can lie.
struct RawEntry {
  std::string name, data;
  uint16_t method = 0, flags = 0;
  uint32_t crc = 0, size = 0, stored = 0;
  static RawEntry of(std::string name, std::string content) {
    RawEntry e{std::move(name), std::move(content)};
    e.crc = static_cast<uint32_t>(
        ::crc32(0, reinterpret_cast<const Bytef*>(e.data.data()), static_cast<uInt>(e.data.size())));
    e.size = e.stored = static_cast<uint32_t>(e.data.size());
    return e;
  }
};
std::string raw_zip(const std::vector<RawEntry>& entries,
                    const std::function<void(std::string& directory)>& change = {}, int count_offset = 0) {
  std::string out, directory;
  for (const RawEntry& e : entries) {
    std::string common;
    for (const uint16_t field : {uint16_t{20}, e.flags, e.method, uint16_t{0}, uint16_t{0}}) put(common, field);
    for (const uint32_t field : {e.crc, e.stored, e.size}) put(common, field);
    put(common, static_cast<uint16_t>(e.name.size()));
    put(common, uint16_t{0});
    put(directory, uint32_t{0x02014b50});
    put(directory, uint16_t{20});
    directory += common + std::string(10, '\0');
    put(directory, static_cast<uint32_t>(out.size()));
    directory += e.name;
    put(out, uint32_t{0x04034b50});
    out += common + e.name + e.data;
  }
  if (change) change(directory);
  const auto offset = static_cast<uint32_t>(out.size());
  out += directory;
  put(out, uint32_t{0x06054b50});
  put(out, uint32_t{0});
  put(out, static_cast<uint16_t>(static_cast<int>(entries.size()) + count_offset));
  put(out, static_cast<uint16_t>(static_cast<int>(entries.size()) + count_offset));
  put(out, static_cast<uint32_t>(directory.size()));
  put(out, offset);
  put(out, uint16_t{0});
  return out;
}
std::string deflated(const std::string& content) {
  z_stream stream{};
  deflateInit2(&stream, 9, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, content.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<uInt>(content.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string small_pickle() { return std::string("\x80\x02}X\x01\0\0\0aK\x01s.", 13); }

std::string load_error(const TemporaryFolder& folder, const std::string& content, const char* name = "x.pt") {
  write_all(folder.file(name), content);
  return error_of([&] { load(folder.file(name)); });
}

/// Small files of every format.
std::map<std::string, std::string> good_files() {
  const TemporaryFolder folder;
  const StateDict tensors{{"a", numbered({3, 2}, DType::f32)}, {"b", numbered({5}, DType::bool_)}};
  save(folder.file("m.pt"), {{"epoch", 3}, {"model", tensors}});
  save_safetensors(folder.file("m.safetensors"), tensors, {{"k", "v"}});
  save_npy(folder.file("m.npy"), *tensors.find("a"));
  save_npz(folder.file("m.npz"), tensors);
  std::map<std::string, std::string> files;
  for (const char* name : {"m.pt", "m.safetensors", "m.npy", "m.npz"}) files[name] = read_all(folder.file(name));
  return files;
}

}  // namespace

TEST_CASE("damage: a file cut anywhere is refused") {
  const MemoryFile cut;
  for (const auto& [name, whole] : good_files()) {
    for (size_t n = 0; n < whole.size(); ++n) {
      REQUIRE(cut.set(whole.substr(0, n)));
      INFO(name << " cut to " << n << " of " << whole.size());
      CHECK_THROWS_AS(load(cut.path()), FileError);
    }
  }
}

TEST_CASE("damage: a file with any byte changed loads or is refused, and nothing else") {
  const MemoryFile changed;
  for (const auto& [name, whole] : good_files()) {
    size_t refused = 0;
    for (size_t i = 0; i < whole.size(); ++i) {
      std::string content = whole;
      content[i] = static_cast<char>(content[i] ^ (1 << i % 8));
      REQUIRE(changed.set(content));
      INFO(name << " changed at " << i);
      try {
        load(changed.path());
      } catch (const FileError&) {
        ++refused;
      }
    }
    CHECK(refused > whole.size() / 4);
  }
}

TEST_CASE("damage: a checksum finds changed weights") {
  const TemporaryFolder folder;
  save(folder.file("m.pt"), {{"a", numbered({16}, DType::u8)}});
  std::string content = read_all(folder.file("m.pt"));
  const size_t at = content.find("\1\2\3\4\5\6\7");
  REQUIRE(at != std::string::npos);
  content[at] ^= 1;
  CHECK(load_error(folder, content).find("entry 'archive/data/0' does not match its checksum") != std::string::npos);
}

TEST_CASE("damage: zip directories that lie") {
  const TemporaryFolder folder;
  const RawEntry good = RawEntry::of("archive/data.pkl", small_pickle());
  const auto refused = [&](const std::string& content, const char* why) {
    const std::string text = load_error(folder, content);
    INFO(text);
    CHECK(text.find(why) != std::string::npos);
  };
  CHECK(load_error(folder, raw_zip({good})).empty());
  refused(raw_zip({good, good}), "exists twice");
  refused(raw_zip({good}, {}, 1), "claims more entries");
  refused(raw_zip({good, RawEntry::of("archive/x", "")}, {}, -1), "longer than its entries");
  RawEntry bad = good;
  bad.size = bad.stored = 1000;
  refused(raw_zip({bad}), "reaches beyond the data");
  bad = good;
  bad.size += 1;
  refused(raw_zip({bad}), "two sizes");
  bad = good;
  bad.flags = 1;
  refused(raw_zip({bad}), "encrypted");
  bad = good;
  bad.method = 12;
  refused(raw_zip({bad}), "compression method 12");
  bad = good;
  bad.crc ^= 1;
  refused(raw_zip({bad}), "checksum");
  refused(raw_zip({good}, [](std::string& d) { d[46] = 'X'; }), "disagree");
  refused(raw_zip({good}, [](std::string& d) { d[42] = 5; }), "");
  refused(raw_zip({RawEntry::of("archive/x", "abc"), good}, [](std::string& d) { d[46 + 9 + 42] = 0; }), "disagree");
  RawEntry packed{"archive/data.pkl", deflated(small_pickle()), 8};
  packed.crc = good.crc;
  packed.stored = static_cast<uint32_t>(packed.data.size());
  packed.size = good.size;
  CHECK(load_error(folder, raw_zip({packed})).empty());
  packed.size = good.size - 1;
  refused(raw_zip({packed}), "longer than its directory says");
  packed.size = good.size + 1;
  refused(raw_zip({packed}), "damaged");
  packed.size = 2'000'000'000;
  refused(raw_zip({packed}), "impossible size");
}

TEST_CASE("damage: a bomb is refused before it unpacks") {
  const TemporaryFolder folder;
  const std::string zeros(64 << 20, ']');
  RawEntry bomb{"archive/data.pkl", deflated(zeros), 8};
  bomb.stored = static_cast<uint32_t>(bomb.data.size());
  bomb.size = static_cast<uint32_t>(zeros.size());
  CHECK(load_error(folder, raw_zip({bomb})).find("has 67108864 bytes; at most 16777216 are taken here") !=
        std::string::npos);
}

TEST_CASE("damage: pickles name nothing but data") {
  for (const char* name : {"os\nsystem\n", "posix\nsystem\n", "builtins\neval\n", "builtins\ngetattr\n",
                           "torch.hub\nload\n", "torch\nload\n", "torch.nn.modules.linear\nLinear\n",
                           "torch._utils\n_import_dotted_name\n", "numpy.core.multiarray\n_reconstruct\n"}) {
    const std::string text = refusal(
        "\x80\x02"
        "c" +
        std::string(name) + ")R.");
    INFO(name << text);
    CHECK(text.find("which is not data") != std::string::npos);
  }
  CHECK(refusal("\x80\x02ios\nsystem\n.").find("opcode 0x69") != std::string::npos);
  CHECK(refusal("\x80\x04\x8c\x02os\x8c\x06system\x93.").find("'os.system', which is not data") != std::string::npos);
}

TEST_CASE("damage: pickles that are no programs") {
  const auto refused = [](const std::string& code, const char* why) {
    const std::string text = refusal(code);
    INFO(text);
    CHECK(text.find(why) != std::string::npos);
  };
  refused("", "truncated");
  refused("\x80\x02", "truncated");
  refused("\x80\x09.", "protocol 9");
  refused(".", "stack is empty");
  refused("NN.", "more than one object");
  refused("(N.", "more than one object");
  refused("e.", "lacks a mark");
  refused("]}e.", "mark");
  refused("N(Ne.", "not a list, but None");
  refused("}(Ku.", "");
  refused("}(K\1u.", "no value");
  refused("](K\1K\2u.", "not a dict, but a list");
  refused("h\5.", "memo 5");
  refused(op32('X', 0xffffffff) + ".", "truncated");
  refused(op32('X', 1000) + "abc.", "truncated");
  refused(op32('T', 0x80000000) + ".", "negative length");
  refused("K\1K\2R.", "not a name, but an int");
  refused("ctorch\nSize\nK\2R.", "not a tuple, but an int");
  refused("]q\1h\1a.", "contains itself");
  refused("}]K\1s.", "dict key: expects a number, text or tuple, got list");
  refused("}}b.", "not an OrderedDict");
  refused("ctorch\nFloatStorage\n.", "in place of a value");
  refused(std::string(600, ']') + std::string(599, 'a') + ".", "more than 500 levels");
}

TEST_CASE("damage: short pickles that describe enormous data") {
  // t = (t0, t0); t1 = (t, t); ... 2^100 leaves; harmless as a value, for it is shared, but not as a dict key.
  std::string doubling = "K\1\x85q";
  doubling += '\0';
  for (int i = 0; i < 100; ++i) doubling += std::string("0h\0h\0\x86q\0", 8);
  CHECK(decode("\x80\x02" + doubling + ".").size() == 2);
  CHECK(refusal("\x80\x02}" + doubling + "K\1s.").find("far too often") != std::string::npos);

  std::string text = op32('X', 1 << 20) + std::string(1 << 20, 'x') + "q" + std::string(1, '\0') + "0](";
  for (int i = 0; i < 300000; ++i) text += std::string("h\0", 2);
  CHECK(refusal(text + "e.").find("far too often") != std::string::npos);

  std::string copies = "](";
  for (int i = 0; i < 100000; ++i) copies += "K\1K\1\x86";
  copies += std::string("eq\0ccollections\nOrderedDict\nq\1(", 31);
  for (int i = 0; i < 100000; ++i) copies += std::string("h\1h\0\x85R", 6);
  CHECK(refusal(copies + "t.").find("far more than it contains") != std::string::npos);
}

TEST_CASE("damage: tensors that do not fit their storages") {
  // _rebuild_tensor_v2(storage of 4 floats, offset, sizes, strides, False, {})
  const auto tensor = [](const std::string& offset, const std::string& sizes, const std::string& strides) {
    return "\x80\x02"
           "ctorch._utils\n_rebuild_tensor_v2\n((" +
           op32('X', 7) + "storagectorch\nFloatStorage\n" + op32('X', 1) + "0" + op32('X', 3) + "cpuK\4tQ" + offset +
           sizes + strides + "\x89}tR.";
  };
  const std::string minus = op32('J', 0xffffffff), huge = std::string("\x8a\x08\0\0\0\0\0\0\0\x40", 10);
  CHECK(decode(tensor(std::string("K\0", 2), "K\2K\2\x86", "K\2K\1\x86")).as_tensor().numel() == 4);
  const auto refused = [&](const std::string& code, const char* why) {
    const std::string text = refusal(code);
    INFO(text);
    CHECK(text.find(why) != std::string::npos);
  };
  refused(tensor("K\1", "K\2K\2\x86", "K\2K\1\x86"), "beyond its storage '0' (element 4 of 4)");
  refused(tensor(minus, "K\2\x85", "K\1\x85"), "negative offset");
  refused(tensor("K\1", minus + "\x85", "K\1\x85"), "negative size");
  refused(tensor("K\1", "K\2\x85", minus + "\x85"), "negative size or stride");
  refused(tensor("K\1", huge + huge + "\x86", "K\1K\1\x86"), "63 bits");
  refused(tensor("K\1", "K\2\x85", huge + "\x85"), "beyond its storage");
  refused(tensor("K\1", "K\2\x85", "K\1K\1\x86"), "differ in length");
  refused(tensor("K\1", "K\2\x85", "N"), "strides of a tensor is None");
  refused(tensor("N", "K\2\x85", "K\1\x85"), "offset of a tensor is None");
  refused(tensor("K\1", "(" + std::string("K\1K\1K\1K\1K\1K\1K\1K\1K\1") + "t", "K\1\x85"), "9 dimensions; at most 8");
}

TEST_CASE("damage: bools of a file are 0 or 1") {
  const TemporaryFolder folder;
  save_safetensors(folder.file("b.safetensors"), {{"b", numbered({4}, DType::bool_)}});
  std::string content = read_all(folder.file("b.safetensors"));
  content.back() = '\x55';
  write_all(folder.file("b.safetensors"), content);
  const StateDict back = load_safetensors(folder.file("b.safetensors"));
  CHECK(static_cast<const uint8_t*>(back.find("b")->data_ptr())[3] == 1);
}

TEST_CASE("damage: safetensors headers") {
  const TemporaryFolder folder;
  const auto file = [](const std::string& header, size_t data) {
    std::string out;
    put(out, static_cast<uint64_t>(header.size()));
    return out + header + std::string(data, '\1');
  };
  const auto refused = [&](const std::string& content, const char* why) {
    const std::string text = load_error(folder, content, "x.safetensors");
    INFO(text);
    CHECK(text.find(why) != std::string::npos);
  };
  const std::string a = R"("a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]})";
  CHECK(load_error(folder, file("{" + a + "}", 2), "x.safetensors").empty());
  refused(file("{" + a + "}", 1), "truncated");
  refused(file("{" + a + "}", 3), "1 bytes behind its last tensor");
  refused(file("{" + a + "," + a + "}", 2), "'a' occurs twice");
  refused(file("{" + a + "} x", 2), "no JSON");
  refused(file("[" + std::string(100000, '['), 0), "a list where none belongs");
  refused(file(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2],"x":1}})", 2), "unknown field 'x'");
  refused(file(R"({"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,2]}})", 2), "not an integer");
  refused(file(R"({"a":{"dtype":"U8","shape":[99999999999999999999],"data_offsets":[0,2]}})", 2), "not an integer");
  refused(file(R"({"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0), "impossible shape");
  refused(file(R"({"a":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}})", 2),
          "dtype 'F8_E4M3', which is not supported");
  refused(file(R"({"__metadata__":{"k":"1","k":"2"}})", 0), "metadata 'k' occurs twice");
  refused(file("{\"a\xff\":1}", 0), "no JSON");
  refused("\xff\xff\xff\xff\xff\xff\xff\xff{}", "at most 100000000");
}
