#include "data/tensorboard.h"

#include <cmath>
#include <map>

#include "core/error.h"
#include "data/formats/bytes.h"
#include "data/formats/tfrecord.h"
#include "tests/catch.h"
#include "tests/data/helpers.h"

using namespace weft;
using namespace weft::test;
using formats::get;

namespace {

/// The fields of a protobuf message: numbers as bytes of their value, texts and messages as they are.
std::multimap<int, std::string> fields(std::string_view m) {
  std::multimap<int, std::string> out;
  const auto varint = [&] {
    uint64_t v = 0;
    for (int shift = 0;; shift += 7) {
      const auto byte = static_cast<uint8_t>(m.at(0));
      m.remove_prefix(1);
      v |= static_cast<uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return v;
    }
  };
  while (!m.empty()) {
    const uint64_t tag = varint();
    size_t length = (tag & 7) == 1 ? 8 : 4;
    std::string value;
    if ((tag & 7) == 0) {
      const uint64_t v = varint();
      value.assign(reinterpret_cast<const char*>(&v), 8);
      length = 0;
    } else if ((tag & 7) == 2) {
      length = varint();
    }
    if (length > 0 || value.empty()) value = m.substr(0, length);
    m.remove_prefix(length);
    out.emplace(static_cast<int>(tag >> 3), value);
  }
  return out;
}
std::string field(std::string_view m, int number) {
  const auto all = fields(m);
  const auto found = all.find(number);
  REQUIRE(found != all.end());
  return found->second;
}

/// The records of a file, their checksums compared.
std::vector<std::string> records(const std::string& path) {
  const std::string file = read_all(path);
  std::vector<std::string> out;
  for (size_t at = 0; at < file.size();) {
    const auto length = get<uint64_t>(file.data() + at);
    REQUIRE(at + 16 + length <= file.size());
    out.push_back(file.substr(at + 12, length));
    REQUIRE(formats::tfrecord(out.back()) == file.substr(at, length + 16));
    at += length + 16;
  }
  return out;
}

}  // namespace

TEST_CASE("CRC-32C: the check value of the standard") {
  CHECK(formats::crc32c("123456789") == 0xe3069283U);
  CHECK(formats::crc32c("") == 0);
  CHECK(formats::crc32c(std::string(32, '\0')) == 0x8a9136aaU);  // RFC 3720
}

TEST_CASE("SummaryWriter: the events are TensorBoard's") {
  const TemporaryFolder folder;
  std::string path;
  {
    SummaryWriter writer(folder.file("runs/1"));
    writer.add_scalar("loss/train", 0.25, 7);
    writer.add_histogram("weights", tensor(std::vector<double>{-1, 0, 0.5, 2, NAN}), 300);
    writer.add_text("note", "**bold**", 1);
    writer.flush();
    path = writer.path();
  }
  const auto all = records(path);
  REQUIRE(all.size() == 4);
  CHECK(field(all[0], 3) == "brain.Event:2");
  CHECK(get<double>(field(all[1], 1).data()) > 1.6e9);
  CHECK(get<int64_t>(field(all[1], 2).data()) == 7);
  const std::string scalar = field(field(all[1], 5), 1);
  CHECK(field(scalar, 1) == "loss/train");
  CHECK(get<float>(field(scalar, 2).data()) == 0.25F);

  CHECK(get<int64_t>(field(all[2], 2).data()) == 300);
  const std::string h = field(field(field(all[2], 5), 1), 5);
  const double want[] = {-1, 2, 4, 1.5, 5.25};  // min, max, number, sum, squares
  for (int i = 0; i < 5; ++i) CHECK(get<double>(field(h, i + 1).data()) == want[i]);
  const std::string limits = field(h, 6), counts = field(h, 7);
  REQUIRE(limits.size() == counts.size());
  double sum = 0;
  for (size_t i = 0; i < counts.size(); i += 8) {
    const auto count = get<double>(counts.data() + i), limit = get<double>(limits.data() + i);
    sum += count;
    if (count == 0) continue;
    const double below = get<double>(limits.data() + i - 8);
    bool holds = false;
    for (const double v : {-1.0, 0.0, 0.5, 2.0}) holds |= below < v && v <= limit;
    CHECK(holds);
  }
  CHECK(sum == 4);

  const std::string text = field(field(all[3], 5), 1);
  CHECK(field(text, 1) == "note/text_summary");
  CHECK(field(field(text, 8), 8) == "**bold**");
  CHECK(field(field(field(text, 9), 1), 1) == "text");
}

TEST_CASE("SummaryWriter: a second writer has a file of its own; errors") {
  const TemporaryFolder folder;
  const SummaryWriter a(folder.path()), b(folder.path());
  CHECK(a.path() != b.path());
  SummaryWriter empty_values(folder.path());
  empty_values.add_histogram("nothing", empty({0}), 1);
  CHECK(records(empty_values.path()).size() == 2);
  write_all(folder.file("file"), "x");
  CHECK_THROWS_AS(SummaryWriter(folder.file("file/runs")), FileError);
}
