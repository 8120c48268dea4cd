#include "data/checkpoint_manager.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "core/error.h"
#include "core/ops/pointwise_api.h"
#include "data/serialize.h"
#include "tests/catch.h"
#include "tests/data/helpers.h"

using namespace weft;
using namespace weft::test;

TEST_CASE("AsyncSaver: what was there at the call is written, whatever happens behind it") {
  const TemporaryFolder folder;
  const std::string path = folder.file("m.pt");
  Tensor weight = numbered({300, 100}, DType::f32), before = weight.clone();
  Value value = {{"weight", weight}, {"row", weight.select(0, 1)}, {"step", 3}};
  AsyncSaver saver;
  bool then = false;
  saver.save(path, value, [&] { then = std::filesystem::exists(path); });
  weight.zero_();
  value.set("step", 4);
  saver.wait();
  CHECK(then);
  const Value back = load(path);
  CHECK(same_bits(back["weight"].as_tensor(), before));
  CHECK(back["row"].as_tensor().shares_storage_with(back["weight"].as_tensor()));
  CHECK(back["step"].as_int() == 3);
  saver.wait();
}

TEST_CASE("AsyncSaver: what went wrong comes at the next call, once") {
  const TemporaryFolder folder;
  AsyncSaver saver;
  const std::string nowhere = folder.file("no/m.pt"), good = folder.file("m.pt");
  saver.save(nowhere, {{"step", 1}});
  CHECK(error_of([&] {
          saver.save(good, {{"step", 2}});
        }) == "save: cannot write '" + nowhere + "': No such file or directory; nothing under that name was changed");
  CHECK(folder.count() == 0);
  saver.save(good, {{"step", 3}});
  saver.wait();
  CHECK(load(good)["step"].as_int() == 3);
  saver.save(nowhere, {{"step", 4}});
  CHECK_THROWS_AS(saver.wait(), FileError);
  saver.wait();
  // What cannot be copied is the caller's error, at once.
  CHECK(error_of([&] {
          saver.save(good, {{"t", Tensor()}});
        }) == "snapshot: an undefined tensor; leave it out or use none");
}

TEST_CASE("CheckpointManager: the newest are kept, the newest good one is found") {
  for (const bool asynchronous : {false, true}) {
    CAPTURE(asynchronous);
    const TemporaryFolder folder;
    const std::string path = folder.file("run/a");
    {
      CheckpointManager checkpoints(path, {.keep_last = 3, .asynchronous = asynchronous});
      CHECK_FALSE(checkpoints.load_latest());
      write_all(path + "/checkpoint-best.pt", "a file of somebody else");
      for (const int64_t step : {1, 2, 9, 10, 11}) checkpoints.save(step, {{"step", step}});
      checkpoints.wait();
      CHECK(checkpoints.steps() == std::vector<int64_t>{9, 10, 11});
      CHECK(checkpoints.load_latest()->value["step"].as_int() == 11);
    }
    CHECK(std::filesystem::exists(path + "/checkpoint-best.pt"));
    // Damage, as from a broken disk: the one before is taken, and the reason told.
    CheckpointManager checkpoints(path);
    write_all(checkpoints.path(11), read_all(checkpoints.path(11)).substr(0, 100));
    write_all(checkpoints.path(10), "");
    const auto found = checkpoints.load_latest();
    REQUIRE(found);
    CHECK(found->step == 9);
    CHECK(found->value["step"].as_int() == 9);
    REQUIRE(found->skipped.size() == 2);
    CHECK(found->skipped[1] == "load: '" + checkpoints.path(10) + "' is empty");
    write_all(checkpoints.path(9), "");
    CHECK(error_of([&] { checkpoints.load_latest(); }).find("none of the 3 files 'checkpoint-*.pt'") !=
          std::string::npos);
  }
}

TEST_CASE("CheckpointManager: an older step that is saved again is not removed at once") {
  const TemporaryFolder folder;
  CheckpointManager checkpoints(folder.path(), {.keep_last = 2});
  for (const int64_t step : {10, 20, 5}) checkpoints.save(step, {{"step", step}});
  CHECK(checkpoints.steps() == std::vector<int64_t>{5, 10, 20});
}

TEST_CASE("CheckpointManager: leftovers of killed writers go, files being written stay") {
  const TemporaryFolder folder;
  const std::string dead = folder.file("checkpoint-3.pt.tmp.1.0"), alive = folder.file("checkpoint-4.pt.tmp.1.1"),
                    other = folder.file("notes.tmp.1");
  for (const std::string& path : {dead, alive, other}) write_all(path, "half a file");
  const int fd = ::open(alive.c_str(), O_WRONLY);
  REQUIRE(::flock(fd, LOCK_EX | LOCK_NB) == 0);
  const CheckpointManager checkpoints(folder.path());
  CHECK_FALSE(std::filesystem::exists(dead));
  CHECK(std::filesystem::exists(alive));
  CHECK(std::filesystem::exists(other));
  CHECK(checkpoints.steps().empty());
  ::close(fd);
  // save() alone does the same for its own name.
  write_all(folder.file("m.pt.tmp.1.0"), "half a file");
  save(folder.file("m.pt"), {{"step", 1}});
  CHECK_FALSE(std::filesystem::exists(folder.file("m.pt.tmp.1.0")));
  CHECK(std::filesystem::exists(alive));
}

TEST_CASE("CheckpointManager: arguments") {
  const TemporaryFolder folder;
  CHECK(error_of([&] { CheckpointManager(folder.path(), {.keep_last = 0}); }) ==
        "checkpoints: keep_last must be at least 1, got 0");
  CHECK(error_of([&] { CheckpointManager(folder.path(), {.name = "a/b"}); }) ==
        "checkpoints: the name 'a/b' must not be empty nor hold a slash");
  CHECK(error_of([&] {
          CheckpointManager(folder.path()).save(-1, {{"step", 1}});
        }) == "checkpoints: step must not be negative, got -1");
  write_all(folder.file("file"), "x");
  CHECK_THROWS_AS(CheckpointManager(folder.file("file/run")), FileError);
}
