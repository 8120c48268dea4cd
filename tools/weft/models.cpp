#include "tools/weft/models.h"

#include "autograd/checkpoint.h"
#include "core/error.h"

namespace weft::models {

// ---- Mlp

Mlp::Mlp(const std::vector<int64_t>& sizes) {
  for (size_t i = 0; i + 1 < sizes.size(); ++i) layers.emplace_back(sizes[i], sizes[i + 1]);
}
Tensor Mlp::operator()(const Tensor& input) {
  const nn::ModuleScope scope(*this);
  Tensor x = input;
  for (size_t i = 0; i < layers.size(); ++i) {
    x = layers[static_cast<int64_t>(i)](x);
    if (i + 1 < layers.size()) x = relu(x);
  }
  return x;
}

// ---- Cnn

Cnn::Cnn(const Dims& image, const std::vector<int64_t>& channels, int64_t hidden, int64_t classes)
    : conv1(*this, "conv1", image[0], channels.at(0), 3, {.padding = 1}),
      conv2(*this, "conv2", channels.at(0), channels.at(1), 3, {.padding = 1}),
      fc1(*this, "fc1", channels[1] * (image[1] / 4) * (image[2] / 4), hidden),
      fc2(*this, "fc2", hidden, classes) {}
Tensor Cnn::operator()(const Tensor& input) {
  const nn::ModuleScope scope(*this);
  const auto features = [this](const Tensor& image) {
    return max_pool2d(relu(conv2(max_pool2d(relu(conv1(image)), 2))), 2);
  };
  const Tensor x = checkpointing ? checkpoint(features, input) : features(input);
  return fc2(relu(fc1(x.flatten(1))));
}

// ---- ResNet

namespace {
nn::Sequential shortcut(int64_t in, int64_t out, int64_t stride) {
  if (stride == 1 && in == out) return {};
  return nn::Sequential{nn::Conv2d{in, out, 1, {.stride = stride, .bias = false}}, nn::BatchNorm2d{out}};
}
}  // namespace

BasicBlock::BasicBlock(int64_t in, int64_t out, int64_t stride)
    : conv1(*this, "conv1", in, out, 3, {.stride = stride, .padding = 1, .bias = false}),
      bn1(*this, "bn1", out),
      conv2(*this, "conv2", out, out, 3, {.padding = 1, .bias = false}),
      bn2(*this, "bn2", out),
      down(shortcut(in, out, stride)) {
  if (!down.empty()) register_module("down", down);
}
Tensor BasicBlock::operator()(const Tensor& x) {
  const nn::ModuleScope scope(*this);
  Tensor y = bn2(conv2(relu(bn1(conv1(x)))));
  return relu(y + down(x));  // an empty Sequential hands x on
}

ResNet::ResNet(const Dims& image, const std::vector<int64_t>& blocks, int64_t width, int64_t classes)
    : conv(*this, "conv", image[0], width, 3, {.padding = 1, .bias = false}),
      bn(*this, "bn", width),
      layers(*this, "layers"),
      fc(*this, "fc", width << (blocks.size() - 1), classes) {
  int64_t in = width;
  for (size_t stage = 0; stage < blocks.size(); ++stage)
    for (int64_t i = 0; i < blocks[stage]; ++i) {
      const int64_t out = width << stage;
      layers.push_back(BasicBlock(in, out, stage > 0 && i == 0 ? 2 : 1));
      in = out;
    }
}
Tensor ResNet::operator()(const Tensor& x) {
  const nn::ModuleScope scope(*this);
  Tensor y = layers(relu(bn(conv(x))));
  return fc(y.mean({.dim = {2, 3}}));
}

// ---- ResNet-50

namespace {
nn::Sequential conv_norm_relu(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t padding) {
  return nn::Sequential{nn::Conv2d{in, out, kernel, {.stride = stride, .padding = padding, .bias = false}},
                        nn::BatchNorm2d{out}, nn::ReLU{}};
}
}  // namespace

Bottleneck::Bottleneck(int64_t in, int64_t mid, int64_t out, int64_t stride)
    : a(conv_norm_relu(in, mid, 1, 1, 0)),
      b(conv_norm_relu(mid, mid, 3, stride, 1)),
      c(nn::Conv2d{mid, out, 1, {.bias = false}}, nn::BatchNorm2d{out}),
      down(shortcut(in, out, stride)) {
  register_module("a", a);
  register_module("b", b);
  register_module("c", c);
  if (!down.empty()) register_module("down", down);
}
Tensor Bottleneck::operator()(const Tensor& x) {
  const nn::ModuleScope scope(*this);
  return relu(c(b(a(x))) + down(x));
}

ResNet50::ResNet50(const Dims& image, int64_t classes)
    : stem(conv_norm_relu(image[0], 64, 7, 2, 3)), layers(*this, "layers"), fc(*this, "fc", 2048, classes) {
  register_module("stem", stem);
  stem.push_back(nn::MaxPool2d{3, {.stride = 2, .padding = 1}});
  int64_t in = 64, stage = 0;
  for (int64_t blocks : {3, 4, 6, 3}) {
    const int64_t mid = 64 << stage;
    for (int64_t i = 0; i < blocks; ++i) {
      layers.push_back(Bottleneck(in, mid, mid * 4, stage > 0 && i == 0 ? 2 : 1));
      in = mid * 4;
    }
    ++stage;
  }
}
Tensor ResNet50::operator()(const Tensor& x) {
  const nn::ModuleScope scope(*this);
  return fc(layers(stem(x)).mean({.dim = {2, 3}}));
}

// ---- Gpt

GptBlock::GptBlock(int64_t embd, int64_t heads)
    : heads(heads),
      ln1(*this, "ln1", embd),
      ln2(*this, "ln2", embd),
      qkv(*this, "qkv", embd, 3 * embd),
      proj(*this, "proj", embd, embd),
      up(*this, "up", embd, 4 * embd),
      down(*this, "down", 4 * embd, embd) {
  WEFT_CHECK(heads > 0 && embd % heads == 0, "gpt: embd {} does not divide into {} heads", embd, heads);
}
Tensor GptBlock::operator()(const Tensor& x, nn::KeyValueCache* cache) {
  const nn::ModuleScope scope(*this);
  const int64_t B = x.size(0), T = x.size(1), C = x.size(2);
  std::vector<Tensor> parts = qkv(ln1(x)).split(C, 2);
  for (Tensor& part : parts) part = part.view({B, T, heads, C / heads}).transpose(1, 2);
  Tensor y = cache ? cache->attend(parts[0], parts[1], parts[2])
                   : scaled_dot_product_attention(parts[0], parts[1], parts[2], {.is_causal = true});
  Tensor z = x + proj(y.transpose(1, 2).reshape({B, T, C}));
  return z + down(gelu(up(ln2(z)), {.approximate = "tanh"}));
}

Gpt::Gpt(const GptOptions& o)
    : options(o),
      wte(*this, "wte", o.vocab, o.embd),
      wpe(*this, "wpe", o.block, o.embd),
      lnf(*this, "lnf", o.embd),
      head(*this, "head", o.embd, o.vocab, {.bias = false}) {
  for (int64_t i = 0; i < o.layers; ++i) blocks.emplace_back(o.embd, o.heads);
  for (Tensor& p : parameters())
    if (p.dim() > 1) nn::init::normal_(p, 0.0, 0.02);
  head.weight = wte.weight;
}
Tensor Gpt::embed(const Tensor& indices, int64_t first) {
  WEFT_CHECK(indices.dim() == 2 && first + indices.size(1) <= options.block,
             "gpt: {} must be [batch, time] with at most {} in time", indices, options.block - first);
  return wte(indices) + wpe(arange(first, first + indices.size(1), 1, {.device = indices.device()}));
}
Tensor Gpt::operator()(const Tensor& indices) {
  const nn::ModuleScope scope(*this);
  Tensor x = embed(indices, 0);
  for (GptBlock& block : blocks)
    x = checkpointing ? checkpoint([&block](const Tensor& y) { return block(y); }, x) : block(x);
  return head(lnf(x));
}
Tensor Gpt::operator()(const Tensor& indices, std::vector<nn::KeyValueCache>& caches) {
  const nn::ModuleScope scope(*this);
  WEFT_CHECK(caches.size() == blocks.size(), "gpt: {} caches for {} blocks", caches.size(), blocks.size());
  Tensor x = embed(indices, caches.front().size());
  for (size_t i = 0; i < blocks.size(); ++i) x = blocks[static_cast<int64_t>(i)](x, &caches[i]);
  return head(lnf(x));
}
std::vector<nn::KeyValueCache> Gpt::caches() const {
  return std::vector<nn::KeyValueCache>(blocks.size(), nn::KeyValueCache(options.block));
}

std::unique_ptr<Model> make_model(const nlohmann::json& w) {
  const std::string kind = w.at("kind");
  auto ints = [&](const char* key) { return w.at(key).get<std::vector<int64_t>>(); };
  auto integer = [&](const char* key) { return w.at(key).get<int64_t>(); };
  if (kind == "mlp") return std::make_unique<Mlp>(ints("sizes"));
  if (kind == "cnn")
    return std::make_unique<Cnn>(ints("image"), ints("channels"), integer("hidden"), integer("classes"));
  if (kind == "resnet")
    return std::make_unique<ResNet>(ints("image"), ints("blocks"), integer("width"), integer("classes"));
  if (kind == "resnet50") return std::make_unique<ResNet50>(ints("image"), integer("classes"));
  WEFT_CHECK(kind == "gpt", "model: unknown kind \"{}\"; use mlp, cnn, resnet, resnet50 or gpt", kind);
  return std::make_unique<Gpt>(
      GptOptions{integer("vocab"), integer("block"), integer("layers"), integer("heads"), integer("embd")});
}

}  // namespace weft::models
