// Where samples come from: pictures, CIFAR, CSV, tokens, arrays; and how they are drawn and put together.
#include <filesystem>
#include <fstream>
#include <numeric>

#include "core/error.h"
#include "core/ops/random.h"
#include "core/thread_state.h"
#include "data/csv.h"
#include "data/image.h"
#include "data/loader.h"
#include "data/serialize.h"
#include "data/token_file.h"
#include "data/transforms.h"
#include "data/vision.h"
#include "tests/catch.h"
#include "tests/data/helpers.h"
#include "tests/data/loader_helpers.h"

using namespace weft;
using namespace weft::test;

namespace {

bool has(const std::string& text, const char* part) { return text.find(part) != std::string::npos; }

std::string big_endian(uint32_t n) {
  return {static_cast<char>(n >> 24), static_cast<char>(n >> 16), static_cast<char>(n >> 8), static_cast<char>(n)};
}
std::string idx(const std::vector<uint32_t>& sizes, const std::string& bytes) {
  std::string out{'\0', '\0', '\x08', static_cast<char>(sizes.size())};
  for (const uint32_t n : sizes) out += big_endian(n);
  return out + bytes;
}

std::string picture(const std::string& name) { return std::string(WEFT_SOURCE_DIR) + "/tests/data/images/" + name; }
double largest_difference(const Tensor& a, const Tensor& b) {
  return a.to(DType::i32).sub(b.to(DType::i32)).to(DType::f64).norm(INFINITY).item<double>();
}

// First line of a test that decodes pictures.
#define NEED_PICTURES()                                                        \
  if (!data::reads_png() || !data::reads_jpeg()) {                             \
    WARN("weft was built without libpng or libjpeg: pictures are not tested"); \
    return;                                                                    \
  }

}  // namespace

TEST_CASE("images: PNG and JPEG as torchvision decodes them") {
  NEED_PICTURES();
  const StateDict pixels = load(picture("pixels.npz")).as_state_dict();
  for (const char* name : {"gray.png", "rgb.png", "rgba.png", "gray_alpha.png", "palette.png", "bits.png", "rgb.jpg",
                           "gray.jpg", "progressive.jpg", "cmyk.jpg"}) {
    INFO(name);
    const std::string file = picture(name);
    const bool png = has(name, ".png"), indices = has(name, "palette") || has(name, "bits");
    if (const Tensor* same = pixels.find(name); same && !indices) CHECK(same_bits(data::read_image(file), *same));
    const Tensor rgb = data::read_image(file, {.mode = data::ImageMode::rgb});
    REQUIRE(rgb.sizes() == pixels.find(std::string(name) + ".rgb")->sizes());
    CHECK(largest_difference(rgb, *pixels.find(std::string(name) + ".rgb")) <= (has(name, "cmyk") ? 2 : 0));
    const Tensor gray = data::read_image(file, {.mode = data::ImageMode::gray});
    REQUIRE(gray.dim() == 3);
    // libjpeg itself makes gray of the brightness it stores; only PNG has one rule for all.
    if (png && !indices) CHECK(largest_difference(gray, *pixels.find(std::string(name) + ".gray")) <= 1);
    const Tensor alpha = data::read_image(file, {.mode = data::ImageMode::rgb_alpha});
    CHECK(alpha.size(0) == 4);
    if (!has(name, "alpha") && !has(name, "rgba")) CHECK(alpha[3].eq(255).all().item<bool>());
  }
  const TemporaryFolder folder;
  for (const int64_t channels : {1, 2, 3, 4}) {
    const Tensor image = randint(0, 256, {channels, 5, 7}, {.dtype = DType::u8});
    data::write_png(image, folder.file("x.png"));
    CHECK(same_bits(data::read_image(folder.file("x.png")), image));
  }
  CHECK(has(error_of([&] { data::write_png(zeros({3, 4, 4}), folder.file("y.png")); }), "expects u8"));
}

TEST_CASE("images: damaged, truncated, huge and foreign files") {
  NEED_PICTURES();
  for (const char* name : {"rgb.png", "rgba.png", "palette.png", "rgb.jpg", "progressive.jpg"}) {
    INFO(name);
    const std::string whole = read_all(picture(name));
    const auto refusal = [&](const std::string& bytes, int64_t max_pixels = 1 << 20) {
      return error_of([&] {
        data::decode_image({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()}, {.max_pixels = max_pixels},
                           name);
      });
    };
    CHECK(refusal(whole).empty());
    for (size_t keep = 0; keep < whole.size() - 14; keep += 7) CHECK(has(refusal(whole.substr(0, keep)), name));
    CHECK(has(refusal(whole, 50), "the limit is 50 (max_pixels)"));
    std::string damaged = whole;
    for (size_t at = 0; at < whole.size(); ++at) {
      damaged[at] = static_cast<char>(~damaged[at]);
      refusal(damaged);  // a picture or an error, nothing else
      damaged[at] = whole[at];
    }
  }
  const TemporaryFolder folder;
  write_all(folder.file("x.png"), "GIF89a..");
  CHECK(has(error_of([&] { data::read_image(folder.file("x.png")); }), "neither a PNG nor a JPEG"));
  CHECK(has(error_of([&] { data::read_image(folder.file("none.png")); }), "cannot open"));
}

TEST_CASE("ImageFolder: classes by folder, transforms, progress, errors") {
  const DefaultDevice host("cpu");
  NEED_PICTURES();
  const TemporaryFolder folder;
  namespace fs = std::filesystem;
  for (const char* name : {"dogs", "cats/deep"}) fs::create_directories(folder.file(name));
  fs::copy(picture("rgb.png"), folder.file("dogs/b.PNG"));
  fs::copy(picture("gray.jpg"), folder.file("dogs/a.jpg"));
  fs::copy(picture("rgba.png"), folder.file("cats/deep/c.png"));
  write_all(folder.file("cats/notes.txt"), "no image");
  int64_t found = 0;
  const data::ImageFolder images(
      folder.path(), {.transform = data::transforms::Compose(data::transforms::Resize(data::transforms::Size(8, 8)),
                                                             data::transforms::ToTensor()),
                      .progress = [&](int64_t n) { found = n; }});
  CHECK(found == 3);
  CHECK(images.classes() == std::vector<std::string>{"cats", "dogs"});
  data::DataLoader loader(images, {.batch_size = 3, .num_workers = 2});
  for (auto [x, y] : loader) {
    CHECK(x.sizes() == Dims{3, 3, 8, 8});
    CHECK(x.dtype() == DType::f32);
    CHECK(y.equal(tensor(std::vector<int64_t>{0, 1, 1})));
  }
  CHECK(fs::path(images.samples()[1].first).filename() == "a.jpg");
  write_all(folder.file("dogs/b.PNG"), "damaged");
  CHECK(has(error_of([&] { bytes_of_epochs(loader, 1); }), "sample 2, batch 0 of epoch 1"));
  fs::create_directory(folder.file("empty"));
  CHECK(has(error_of([&] { data::ImageFolder(folder.path()); }), "there are no .png, .jpg or .jpeg files in"));
  CHECK(has(error_of([&] { data::ImageFolder(folder.file("cats/deep")); }), "has no folders"));
  CHECK(has(error_of([&] { data::ImageFolder(folder.file("nowhere")); }), "cannot read the folder"));
}

TEST_CASE("MNIST and CIFAR: files, gathering, transforms, errors") {
  const TemporaryFolder folder;
  std::string bytes(3 * 784, '\0');
  std::iota(bytes.begin(), bytes.end(), '\0');
  std::filesystem::create_directories(folder.file("MNIST/raw"));
  CHECK(has(error_of([&] { data::MNIST(folder.path(), {.train = false}); }),
            "there is no t10k-images-idx3-ubyte in any of"));
  write_all(folder.file("MNIST/raw/t10k-images-idx3-ubyte"), idx({3, 28, 28}, bytes));
  write_all(folder.file("MNIST/raw/t10k-labels-idx1-ubyte"), idx({3}, std::string{7, 0, 9}));
  const data::MNIST digits(folder.path(), {.train = false});
  CHECK(digits.size() == 3);
  const data::MNIST floats(folder.path(), {.train = false, .transform = data::transforms::ToTensor()});
  data::DataLoader gathered(digits, {.batch_size = 2, .shuffle = true, .num_workers = 1, .seed = 3}),
      single(floats, {.batch_size = 2, .shuffle = true, .num_workers = 2, .seed = 3});
  auto b = single.begin();
  for (auto [x, y] : gathered) {
    CHECK(x.dtype() == DType::u8);
    CHECK(x.sizes() == Dims{y.size(0), 1, 28, 28});
    CHECK(same_bits(x.to(DType::f32).div(255), b->first));
    CHECK(y.equal(b->second));
    ++b;
  }
  write_all(folder.file("MNIST/raw/t10k-labels-idx1-ubyte"), idx({2}, std::string{7, 0}));
  CHECK(has(error_of([&] { data::MNIST(folder.path(), {.train = false}); }), "not a label for each of 3 images"));

  std::string record(3073, '\5');
  record[0] = 9;
  write_all(folder.file("test_batch.bin"), record + std::string(3073, '\1'));
  const data::CIFAR10 cifar(folder.path(), {.train = false});
  CHECK(cifar.size() == 2);
  CHECK(cifar.classes()[static_cast<size_t>(cifar.get(0).second)] == "truck");
  CHECK(cifar.get(1).first.sum().item<int64_t>() == 3072);
  write_all(folder.file("test.bin"), std::string(1, '\3') + std::string(1, '\x63') + std::string(3072, '\1'));
  CHECK(data::CIFAR100(folder.path(), {.train = false}).get(0).second == 99);
  write_all(folder.file("test_batch.bin"), record.substr(1));
  CHECK(has(error_of([&] { data::CIFAR10(folder.path(), {.train = false}); }), "no multiple of the 3073"));
  record[0] = 10;
  write_all(folder.file("test_batch.bin"), record);
  CHECK(has(error_of([&] { data::CIFAR10(folder.path(), {.train = false}); }),
            "the label 10 at image 0; there are 10 classes"));
}

TEST_CASE("CSV: headers, quotes, columns, dtypes") {
  const DefaultDevice host("cpu");
  const TemporaryFolder folder;
  const std::string path = folder.file("x.csv");
  const auto read = [&](const std::string& text, const data::CsvOptions& o = {}) {
    write_all(path, text);
    return data::read_csv(path, o);
  };
  const auto table = read(
      "\xef\xbb\xbf"
      "a,\"b, \"\"really\"\"\",c\r\n1,2.5,\"-3\"\r\n 4 ,+5,6e2\r\n\r\n");
  CHECK(table.names == std::vector<std::string>{"a", "b, \"really\"", "c"});
  CHECK(table.values.equal(tensor({1, 2.5, -3, 4, 5, 600}, {.dtype = DType::f32}).view({2, 3})));
  CHECK(table.column("c").equal(tensor({-3, 600}, {.dtype = DType::f32})));
  CHECK(has(error_of([&] { table.column("d"); }), "there is no column 'd'; there are: a, b,"));
  const auto chosen =
      read("x;y;z\n1;text;3\n4;more;6", {.delimiter = ';', .columns = {"z", int64_t{0}}, .dtype = DType::i64});
  CHECK(chosen.names == std::vector<std::string>{"z", "x"});
  CHECK(chosen.values.equal(tensor(std::vector<int64_t>{3, 1, 6, 4}).view({2, 2})));
  CHECK(read("1,2\n3,4\n", {.header = false}).values.sizes() == Dims{2, 2});
  CHECK(read("a\n").values.sizes() == Dims{0, 1});
  CHECK(read("a,b\n1,\n", {.missing = -1}).values.equal(tensor({1, -1}, {.dtype = DType::f32}).view({1, 2})));
  CHECK(std::isnan(read("a\nnan\n").values.item<double>()));

  const auto refusal = [&](const std::string& text, const data::CsvOptions& o = {}) {
    return error_of([&] { read(text, o); });
  };
  CHECK(has(refusal("a,b\n1,2\n3,x\n"), "line 3, column 2 ('b'): 'x' is no f32"));
  CHECK(has(refusal("a,b\n\"1\n\",2\n3,x\n"), "line 2, column 1 ('a')"));
  CHECK(has(refusal("a,b\n1,\n"), "say what stands for it (missing)"));
  CHECK(has(refusal("a,b\n1\n"), "line 2: has 1 fields; the first line has 2"));
  CHECK(has(refusal("a,b\n1,\"2\n"), "line 2, column 2: the quote never ends"));
  CHECK(has(refusal("a\n\"1\"2\n"), "text follows a closing quote"));
  CHECK(has(refusal("a\n300\n", {.dtype = DType::u8}), "'300' is no u8"));
  CHECK(has(refusal("a\n1.5\n", {.dtype = DType::i64}), "'1.5' is no i64"));
  CHECK(has(refusal("\n"), "is empty"));
  CHECK(has(refusal("a\n1\n", {.columns = {"q"}}), "there is no column 'q'; there are: a"));
  CHECK(has(refusal("a\n1\n", {.columns = {int64_t{1}}}), "column 1 is out of range"));
}

TEST_CASE("TokenFile: windows for next-token prediction") {
  const DefaultDevice host("cpu");
  const TemporaryFolder folder;
  const std::string path = folder.file("x.bin");
  std::vector<uint16_t> tokens(11);
  std::iota(tokens.begin(), tokens.end(), uint16_t{65520});
  const std::string bytes(reinterpret_cast<const char*>(tokens.data()), 22);
  write_all(path, bytes);
  const data::TokenFile windows(path, {.block = 5});
  CHECK(windows.tokens() == 11);
  CHECK(windows.size() == 2);
  const auto [x, y] = windows.get(1);
  CHECK(x.equal(arange(65525, 65530)));
  CHECK(y.equal(arange(65526, 65531)));
  CHECK(windows.token(10) == 65530);
  CHECK(data::TokenFile(path, {.block = 5, .stride = 1}).size() == 6);
  CHECK(data::TokenFile(path, {.dtype = data::TokenType::u8, .block = 4, .offset = 2}).tokens() == 20);
  data::DataLoader loader(windows, {.batch_size = 2, .num_workers = 2});
  for (auto [a, b] : loader) CHECK((a.sizes() == Dims{2, 5} && b.sizes() == Dims{2, 5} && a.dtype() == DType::i64));
  CHECK(has(error_of([&] { windows.get(2); }), "index 2 is out of range"));
  CHECK(has(error_of([&] { data::TokenFile(path, {.block = 11}); }), "a window of 11 needs one more"));
  CHECK(has(error_of([&] { data::TokenFile(path, {.dtype = data::TokenType::u32, .block = 2}); }),
            "no multiple of the 4"));
  write_all(path, "");
  CHECK(has(error_of([&] { data::TokenFile(path, {.block = 2}); }), "is empty"));
}

TEST_CASE("datasets: concatenation, subsets, splits, arrays of a file") {
  const DefaultDevice host("cpu");
  const data::TensorDataset a(arange(4)), b(arange(10, 13));
  const data::ConcatDataset all(a, b);
  CHECK(all.size() == 7);
  CHECK(std::get<0>(all.get(5)).item<int64_t>() == 11);
  CHECK_THROWS_AS(all.get(7), IndexError);
  const data::Subset some(a, {3, 1});
  CHECK(some.size() == 2);
  CHECK(std::get<0>(some.get(0)).item<int64_t>() == 3);
  CHECK(std::get<0>(some.get_batch(std::vector<int64_t>{1, 0})).equal(tensor(std::vector<int64_t>{1, 3})));
  CHECK(has(error_of([&] { data::Subset(a, {4}); }), "index 4 is out of range; there are 4"));
  CHECK(has(error_of([] { data::TensorDataset(arange(4), arange(3)); }), "same first dimension"));

  const data::TensorDataset ten(arange(10));
  for (const auto& parts : {data::random_split(ten, {7, 3}, 5), data::random_split(ten, {0.65, 0.35}, 5)}) {
    CHECK(parts[0].size() == 7);
    std::vector<int64_t> seen = parts[0].indices();
    seen.insert(seen.end(), parts[1].indices().begin(), parts[1].indices().end());
    std::sort(seen.begin(), seen.end());
    CHECK(seen == std::vector<int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  }
  CHECK(data::random_split(ten, {5, 5}, 1)[0].indices() != data::random_split(ten, {5, 5}, 2)[0].indices());
  CHECK(has(error_of([&] { data::random_split(ten, {5, 4}); }), "sum to 9, the dataset has 10"));
  CHECK(has(error_of([&] { data::random_split(ten, {0.5, 0.4}); }), "not to 1"));

  const TemporaryFolder folder;
  save_npz(folder.file("d.npz"), StateDict{{"x", arange(6).view({3, 2})}, {"y", arange(3)}});
  const auto arrays = data::tensor_dataset(load(folder.file("d.npz")), "x", "y");
  CHECK(std::get<0>(arrays.get(2)).equal(tensor(std::vector<int64_t>{4, 5})));
}

TEST_CASE("samplers") {
  using Indices = std::vector<int64_t>;
  const auto sorted = [](Indices v) {
    std::sort(v.begin(), v.end());
    return v;
  };
  const Indices six{0, 1, 2, 3, 4, 5};
  CHECK(data::SequentialSampler(6).indices(1, 2) == six);
  const data::RandomSampler random(6);
  CHECK(sorted(random.indices(1, 0)) == six);
  CHECK(random.indices(1, 0) == random.indices(1, 0));
  CHECK(data::RandomSampler(100).indices(1, 0) != data::RandomSampler(100).indices(1, 1));
  CHECK(data::RandomSampler(6, {.num_samples = 15}).indices(1, 0).size() == 15);
  const Indices drawn = data::RandomSampler(3, {.replacement = true, .num_samples = 600}).indices(1, 0);
  for (const int64_t i : {0, 1, 2}) CHECK(std::count(drawn.begin(), drawn.end(), i) == Approx(200).margin(50));
  CHECK(sorted(data::SubsetRandomSampler({9, 4, 7}).indices(1, 0)) == Indices{4, 7, 9});
  const Indices weighted = data::WeightedRandomSampler({1, 0, 3}, 800).indices(1, 0);
  CHECK(std::count(weighted.begin(), weighted.end(), 1) == 0);
  CHECK(std::count(weighted.begin(), weighted.end(), 2) == Approx(600).margin(60));
  CHECK(sorted(data::WeightedRandomSampler({1, 1, 3}, 3, false).indices(1, 0)) == Indices{0, 1, 2});
  CHECK(has(error_of([] { data::WeightedRandomSampler({1, -1}, 2); }), "not negative; got -1"));
  const data::BatchSampler batches(data::SequentialSampler(5), 2);
  CHECK(batches.batches(0, 0) == std::vector<Indices>{{0, 1}, {2, 3}, {4}});
  CHECK(data::BatchSampler(data::SequentialSampler(5), 2, true).size() == 2);

  for (const bool drop : {false, true}) {
    Indices together;
    for (int64_t rank = 0; rank < 3; ++rank) {
      data::DistributedSampler sampler(10, {.num_replicas = 3, .rank = rank, .drop_last = drop});
      CHECK(sampler.size() == (drop ? 3 : 4));
      const Indices mine = sampler.indices(rank + 100, 5);  // the loaders' seeds may differ
      together.insert(together.end(), mine.begin(), mine.end());
      sampler.set_epoch(6);
      CHECK(sampler.indices(0, 5) ==
            data::DistributedSampler(10, {.num_replicas = 3, .rank = rank, .drop_last = drop}).indices(0, 6));
    }
    together = sorted(together);
    together.erase(std::unique(together.begin(), together.end()), together.end());
    CHECK(together.size() == (drop ? 9 : 10));
  }
  CHECK(has(error_of([] { data::DistributedSampler(4, {.num_replicas = 2, .rank = 2}); }), "got rank 2 of 2"));
  // A loader's state holds what the sampler adds.
  const auto sampler =
      std::make_shared<data::DistributedSampler>(8, data::DistributedSamplerOptions{.num_replicas = 2});
  data::DataLoader loader(Numbers{8}, {.batch_size = 2, .sampler = sampler, .seed = 1});
  sampler->set_epoch(3);
  const auto whole = bytes_of_epochs(loader, 1);
  const Value state = loader.state_dict();
  sampler->set_epoch(9);
  CHECK(bytes_of_epochs(loader, 1) != whole);
  loader.load_state_dict(state);
  CHECK(bytes_of_epochs(loader, 1) == whole);
  data::DataLoader listed(Numbers{5}, {.batch_sampler = batches, .num_workers = 2});
  CHECK(listed.size() == 3);
  CHECK(bytes_of_epochs(listed, 1).size() == 3);
}
