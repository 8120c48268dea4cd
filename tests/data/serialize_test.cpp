#include "data/serialize.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstdlib>

#include "core/error.h"
#include "tests/catch.h"
#include "tests/data/helpers.h"

using namespace weft;
using namespace weft::test;

TEST_CASE("pt: every kind of value comes back") {
  const TemporaryFolder folder;
  const Value v = {{"none", Value()},
                   {"bools", Value::list({true, false})},
                   {"ints", Value::list({0, 255, 256, 65536, -1, INT64_MAX, INT64_MIN, int64_t{1} << 40})},
                   {"big", Value::list({Value::big_integer("1180591620717411303424"),
                                        Value::big_integer("-340282366920938463463374607431768211456")})},
                   {"floats", Value::list({0.1, -0.0, INFINITY, 1e-310})},
                   {"text", "grüße ✓ \n"},
                   {"empty", ""},
                   {"bytes", Value::bytes(std::string("\0\x80\xff"
                                                      "a",
                                                      4))},
                   {"dtype", DType::bf16},
                   {"device", Device("cuda:1")},
                   {"tuple", Value::tuple({1, Value::tuple({}), "x"})},
                   {"size", Value::list({2, 3}, Value::ListKind::size)},
                   {"set", Value::list({1, 2}, Value::ListKind::set)},
                   {"dict", {{1, "one"}, {-3, Value()}, {Value::tuple({1, 2}), 5}}},
                   {"nothing", Value::dict()},
                   {"no items", Value::list()}};
  save(folder.file("v.pt"), v);
  const Value back = load(folder.file("v.pt"));
  CHECK(back == v);
  CHECK(std::signbit(back["floats"][1].as_double()));
  CHECK(folder.count() == 1);
}

TEST_CASE("pt: tensors of every dtype, with their strides, storages and requires_grad") {
  const TemporaryFolder folder;
  StateDict tensors;
  for (const DType dtype : kAllDtypes) tensors.set(std::string(name(dtype)), numbered({2, 3}, dtype));
  const Tensor base = numbered({4, 6}, DType::f32);
  tensors.set("scalar", numbered({}, DType::f64));
  tensors.set("empty", empty({0, 3}));
  tensors.set("base", base);
  tensors.set("transposed", base.t());
  tensors.set("slice", base.slice(1, 1, 5, 2));
  tensors.set("expanded", base.select(0, 1).expand({3, 6}));
  tensors.set("leaf", numbered({2}, DType::f32).set_requires_grad(true));
  save(folder.file("t.pt"), tensors);
  const StateDict back = load(folder.file("t.pt")).as_state_dict();
  REQUIRE(back.size() == tensors.size());
  for (const auto& [name, tensor] : tensors) {
    INFO(name);
    const Tensor& got = *back.find(name);
    CHECK(same_bits(got, tensor));
    CHECK(got.strides() == tensor.strides());
    CHECK(got.storage_offset() == tensor.storage_offset());
    CHECK(got.requires_grad() == tensor.requires_grad());
  }
  for (const char* view : {"transposed", "slice", "expanded"})
    CHECK(back.find(view)->shares_storage_with(*back.find("base")));
  CHECK_FALSE(back.find("f32")->shares_storage_with(*back.find("base")));
}

TEST_CASE("pt: the same value gives the same bytes") {
  const TemporaryFolder folder;
  const Value v = {{"a", numbered({3}, DType::f32)}, {"b", 2}};
  save(folder.file("1.pt"), v);
  save(folder.file("2.pt"), v);
  CHECK(read_all(folder.file("1.pt")) == read_all(folder.file("2.pt")));
}

TEST_CASE("pt: what cannot be written is an error, and no file appears") {
  const TemporaryFolder folder;
  CHECK(error_of([&] {
          save(folder.file("x.pt"), {{"t", Tensor()}});
        }) == "save: an undefined tensor; leave it out or use none");
  CHECK(folder.count() == 0);
}

TEST_CASE("safetensors: every dtype, any layout, metadata") {
  const TemporaryFolder folder;
  const std::string path = folder.file("m.safetensors");
  StateDict tensors;
  for (const DType dtype : kAllDtypes) tensors.set(std::string(name(dtype)), numbered({2, 3}, dtype));
  tensors.set("transposed", numbered({3, 5}, DType::i16).t());
  tensors.set("", numbered({}, DType::f32));
  tensors.set("quote\"back\\slash ключ", empty({0, 2}));
  const std::map<std::string, std::string> metadata = {{"epoch", "3"}, {"text", "grüße \"x\""}};
  save_safetensors(path, tensors, metadata);
  const StateDict back = load_safetensors(path);
  REQUIRE(back.size() == tensors.size());
  for (const auto& [name, tensor] : tensors) {
    INFO(name);
    REQUIRE(back.contains(name));
    CHECK(same_bits(*back.find(name), tensor));
    CHECK(back.find(name)->is_contiguous());
  }
  CHECK(safetensors_metadata(path) == metadata);
  CHECK(load(path).as_state_dict().size() == tensors.size());
}

TEST_CASE("safetensors: the bytes are the reference's") {
  const TemporaryFolder folder;
  const std::string path = folder.file("m.safetensors");
  const Tensor bytes = numbered({2}, DType::u8);
  save_safetensors(path, {{"b", bytes}, {"a", numbered({2}, DType::f32)}}, {{"k", "v"}});
  std::string header =
      R"({"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"U8","shape":[2],"data_offsets":[8,10]}})";
  header.append((8 - header.size() % 8) % 8, ' ');
  std::string expected(8, '\0');
  expected[0] = static_cast<char>(header.size());
  expected += header + "\1\2\3\4\5\6\7\10" + "\1\2";
  CHECK(read_all(path) == expected);
}

TEST_CASE("safetensors: tied weights are stored once and come back tied") {
  const TemporaryFolder folder;
  const std::string path = folder.file("m.safetensors");
  const Tensor weight = numbered({100, 100}, DType::f32);
  save_safetensors(path, {{"wte.weight", weight}, {"head.weight", weight}, {"row", weight.select(0, 1)}});
  CHECK(read_all(path).size() < 45000);
  CHECK(safetensors_metadata(path) == std::map<std::string, std::string>{{"tied:head.weight", "wte.weight"}});
  const StateDict back = load_safetensors(path);
  REQUIRE(back.size() == 3);
  CHECK(back.find("head.weight")->shares_storage_with(*back.find("wte.weight")));
  CHECK(same_bits(*back.find("row"), weight.select(0, 1)));
}

TEST_CASE("npy and npz: every dtype NumPy has") {
  const TemporaryFolder folder;
  StateDict tensors;
  for (const DType dtype : kAllDtypes) {
    if (dtype == DType::bf16) continue;
    const Tensor t = numbered({3, 4}, dtype);
    save_npy(folder.file("x.npy"), t.t());
    CHECK(same_bits(load(folder.file("x.npy")).as_tensor(), t.t()));
    tensors.set(std::string(name(dtype)), t);
  }
  tensors.set("scalar", numbered({}, DType::f32));
  tensors.set("one", numbered({1}, DType::f32));
  tensors.set("empty", empty({0, 4}));
  save_npz(folder.file("x.npz"), tensors);
  const StateDict back = load(folder.file("x.npz")).as_state_dict();
  REQUIRE(back.size() == tensors.size());
  for (const auto& [name, tensor] : tensors) {
    INFO(name);
    CHECK(same_bits(*back.find(name), tensor));
  }
  CHECK(error_of([&] { save_npy(folder.file("y.npy"), empty({2}, {.dtype = DType::bf16})); }) ==
        "save: NumPy has no dtype bf16; convert the tensor to f32");
}

TEST_CASE("load: what is not there or no file of ours") {
  const TemporaryFolder folder;
  const std::string missing = folder.file("missing.pt"), empty_file = folder.file("empty.pt"),
                    text = folder.file("text.pt");
  CHECK(error_of([&] { load(missing); }) == "load: cannot open '" + missing + "': No such file or directory");
  CHECK(error_of([&] { load(folder.path()); }) ==
        "load: '" + folder.path() + "' is a folder; give the path of a regular file");
  write_all(empty_file, "");
  CHECK(error_of([&] { load(empty_file); }) == "load: '" + empty_file + "' is empty");
  write_all(text, "To be, or not to be, that is the question");
  CHECK(error_of([&] { load(text); }) == "load: '" + text + "' is not a file of PyTorch (.pt), safetensors or NumPy");
  CHECK_THROWS_AS(load("/dev/zero"), FileError);
}

TEST_CASE("save: a full disk is one clear error") {
  if (!std::filesystem::exists("/dev/full")) {
    WARN("skipped: there is no /dev/full");
    return;
  }
  const Value large = {{"t", numbered({1000, 1000}, DType::f32)}}, small = {{"epoch", 1}};
  for (const Value& v : {large, small}) {
    CHECK(error_of([&] { save("/dev/full", v); }) ==
          "save: cannot write '/dev/full': No space left on device; nothing under that name was changed");
  }
}

TEST_CASE("save: a disk that fills up keeps the old file and nothing of the new one") {
  const TemporaryFolder folder;
  const std::string path = folder.file("m.pt");
  save(path, {{"epoch", 1}});
  rlimit old_limit;  // a limit on the size of files fails as a full disk does, only with another reason
  REQUIRE(::getrlimit(RLIMIT_FSIZE, &old_limit) == 0);
  const auto old_handler = ::signal(SIGXFSZ, SIG_IGN);
  const rlimit limit{1 << 16, old_limit.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_FSIZE, &limit) == 0);
  const std::string text = error_of([&] { save(path, {{"t", numbered({100, 1000}, DType::f32)}}); });
  ::setrlimit(RLIMIT_FSIZE, &old_limit);
  ::signal(SIGXFSZ, old_handler);
  CHECK(text == "save: cannot write '" + path + "': File too large; nothing under that name was changed");
  CHECK(load(path)["epoch"].as_int() == 1);
  CHECK(folder.count() == 1);
}

TEST_CASE("save: if it fails, the old file stays and nothing else is left") {
  const TemporaryFolder folder;
  const std::string path = folder.file("m.pt");
  save(path, {{"epoch", 1}});
  CHECK_THROWS_AS(save(path, {{"t", numbered({100000}, DType::f32)}, {"bad", Tensor()}}), Error);
  CHECK(load(path)["epoch"].as_int() == 1);
  CHECK(folder.count() == 1);

  CHECK(error_of([&] {
          save(folder.path(), {{"epoch", 1}});
        }) == "save: cannot write '" + folder.path() + "': Is a directory; nothing under that name was changed");
  const std::string nowhere = folder.file("no/such/folder.pt");
  CHECK(error_of([&] {
          save(nowhere, {{"epoch", 1}});
        }) == "save: cannot write '" + nowhere + "': No such file or directory; nothing under that name was changed");

  ::chmod(folder.path().c_str(), 0500);
  if (::geteuid() == 0) {
    WARN("unwritable folder: skipped, root may write everywhere");
  } else {
    CHECK(error_of([&] {
            save(path, {{"epoch", 2}});
          }) == "save: cannot write '" + path + "': Permission denied; nothing under that name was changed");
  }
  ::chmod(folder.path().c_str(), 0700);
  CHECK(load(path)["epoch"].as_int() == 1);
}

TEST_CASE("save: replaces through links, keeps the mode") {
  const TemporaryFolder folder;
  const std::string real = folder.file("real.pt"), link = folder.file("link.pt");
  save(real, {{"epoch", 1}});
  ::chmod(real.c_str(), 0640);
  std::filesystem::create_symlink(real, link);
  save(link, {{"epoch", 2}});
  CHECK(std::filesystem::is_symlink(link));
  CHECK(load(real)["epoch"].as_int() == 2);
  struct stat info;
  REQUIRE(::stat(real.c_str(), &info) == 0);
  CHECK((info.st_mode & 0777) == 0640);
}

TEST_CASE("pt: PyTorch opens it with weights_only") {
  if (std::system("python3 -c 'import torch' >/dev/null 2>&1") != 0) {
    WARN("skipped: python3 cannot import torch");
    return;
  }
  const TemporaryFolder folder;
  const Tensor base = numbered({4, 6}, DType::f32);
  save(folder.file("ours.pt"), {{"epoch", 3},
                                {"base", base},
                                {"view", base.t()},
                                {"half", numbered({3}, DType::bf16)},
                                {"leaf", numbered({2}, DType::f32).set_requires_grad(true)},
                                {"bytes", Value::bytes("\xff")},
                                {"size", Value::list({2, 3}, Value::ListKind::size)},
                                {"state", {{0, {{"step", 1.5}}}}}});
  const std::string script =
      "import torch\n"
      "c = torch.load('ours.pt', weights_only=True)\n"
      "assert c['epoch'] == 3 and c['bytes'] == b'\\xff' and c['size'] == torch.Size([2, 3]) and c['state'][0]['step'] "
      "== 1.5\n"
      "assert torch.equal(c['view'], c['base'].t()) and c['view'].data_ptr() == c['base'].data_ptr()\n"
      "assert c['half'].dtype == torch.bfloat16 and c['leaf'].requires_grad\n"
      "c['base'][1, 2] = 5\n"
      "torch.save(c, 'theirs.pt')\n"
      "torch.save(c, 'legacy.pt', _use_new_zipfile_serialization=False)\n";
  write_all(folder.file("check.py"), script);
  REQUIRE(std::system(("cd '" + folder.path() + "' && python3 check.py").c_str()) == 0);
  for (const char* name : {"theirs.pt", "legacy.pt"}) {
    const Value back = load(folder.file(name));
    CHECK(back["base"].as_tensor().select(0, 1).select(0, 2).item<float>() == 5);
    CHECK(back["view"].as_tensor().shares_storage_with(back["base"].as_tensor()));
    CHECK(back["leaf"].as_tensor().requires_grad());
  }
}
