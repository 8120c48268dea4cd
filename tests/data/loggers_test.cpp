#include "data/loggers.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"
#include "tests/catch.h"
#include "tests/data/helpers.h"

using namespace weft;
using namespace weft::test;

TEST_CASE("CsvLogger: rows, empty cells, quotes") {
  const TemporaryFolder folder;
  const std::string path = folder.file("run.csv");
  CsvLogger log(path);
  log.log(1, {{"loss", 0.1}, {"note", "a, \"b\"\nc"}, {"best", true}, {"n", Value()}});
  log.log(2, {{"n", 7}, {"loss", NAN}});
  CHECK(read_all(path) == "step,loss,note,best,n\n1,0.1,\"a, \"\"b\"\" c\",true,\n2,nan,,,7\n");
  CHECK(error_of([&] {
          log.log(3, {{"other", 1}});
        }) == "log: '" + path + "' has no column 'other'; the first row must name all (none for an empty cell)");
  CHECK_THROWS_AS(log.log(3, {{"loss", numbered({1}, DType::f32)}}), TypeError);
  CHECK(error_of([&] { CsvLogger again(path); }) ==
        "log: '" + path + "' exists; give resume_from to go on with it, or overwrite");
  CsvLogger replaced(path, {.overwrite = true});
  CHECK(read_all(path).empty());
}

TEST_CASE("CsvLogger: a resumed run writes the rows behind its checkpoint again") {
  const TemporaryFolder folder;
  const std::string path = folder.file("run.csv");
  write_all(path, "step,loss,\"x,y\"\n1,0.5,a\n2,0.4,b\n3,0.3,c\n4,0.");
  CsvLogger log(path, {.resume_from = 2});
  log.log(3, {{"loss", 0.25}, {"x,y", "d"}});
  CHECK(read_all(path) == "step,loss,\"x,y\"\n1,0.5,a\n2,0.4,b\n3,0.25,d\n");
  const std::string fresh = folder.file("fresh.csv");
  CsvLogger first(fresh, {.resume_from = 0});
  first.log(1, {{"loss", 1}});
  CHECK(read_all(fresh) == "step,loss\n1,1\n");
  write_all(fresh, "time,loss\n1,2\n");
  CHECK(error_of([&] { CsvLogger other(fresh, {.resume_from = 0}); }) ==
        "log: '" + fresh + "' is no log of CsvLogger: its first column is 'time'");
  CHECK(read_all(fresh) == "time,loss\n1,2\n");
  CHECK_THROWS_AS(CsvLogger(folder.file("no/run.csv")), FileError);
}

TEST_CASE("JsonlLogger: an object a line, resumed like CSV") {
  const TemporaryFolder folder;
  const std::string path = folder.file("run.jsonl");
  {
    JsonlLogger log(path);
    log.log(1, {{"loss", 0.5}, {"bad", INFINITY}, {"list", Value::list({1, "x"})}});
    log.log(2, {{"nested", {{"a", true}}}});
  }
  CHECK(read_all(path) == R"({"step":1,"loss":0.5,"bad":null,"list":[1,"x"]})"
                          "\n"
                          R"({"step":2,"nested":{"a":true}})"
                          "\n");
  write_all(path, read_all(path) + R"({"step":3,"lo)");
  JsonlLogger log(path, {.resume_from = 1});
  log.log(2, {{"loss", 0.25}});
  const std::string text = read_all(path);
  CHECK(text.ends_with("\n{\"step\":2,\"loss\":0.25}\n"));
  CHECK(std::count(text.begin(), text.end(), '\n') == 2);
  CHECK_THROWS_AS(log.log(3, {{"step", 1}}), Error);
}

TEST_CASE("loggers: a full disk is an error, not silence") {
  if (!std::filesystem::exists("/dev/full")) return;
  CsvLogger log("/dev/full");
  CHECK(error_of([&] { log.log(1, {{"loss", 1}}); }) == "log: cannot write '/dev/full': No space left on device");
}
