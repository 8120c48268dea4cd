#pragma once
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "nn/nn.h"

// The models of the demos, the benchmark and the training traces: the architectures and parameter names of the peers.
namespace weft::models {

/// A model from one tensor to another.
struct Model : nn::Module {
  virtual Tensor operator()(const Tensor& x) = 0;

  bool checkpointing = false;  ///< of activations, where the model has parts to repeat: Cnn, Gpt
};

/// Linear layers with relu between them; sizes: input, hidden..., output.
struct Mlp : Model {
  explicit Mlp(const std::vector<int64_t>& sizes);
  Tensor operator()(const Tensor& x) override;

  nn::ModuleList<nn::Linear> layers{*this, "layers"};
};

/// Two convolutions with pooling, then two linear layers. image: channels, height, width.
struct Cnn : Model {
  Cnn(const Dims& image, const std::vector<int64_t>& channels, int64_t hidden, int64_t classes);
  Tensor operator()(const Tensor& x) override;

  nn::Conv2d conv1, conv2;
  nn::Linear fc1, fc2;
};

/// Two 3 x 3 convolutions and a shortcut (He et al., Deep Residual Learning).
struct BasicBlock : nn::Module {
  BasicBlock(int64_t in, int64_t out, int64_t stride);
  Tensor operator()(const Tensor& x);

  nn::Conv2d conv1;
  nn::BatchNorm2d bn1;
  nn::Conv2d conv2;
  nn::BatchNorm2d bn2;
  nn::Sequential down;  ///< of the shortcut; empty where the shapes agree
};
/// blocks: how many per stage; every stage but the first halves the image, and all double the width.
struct ResNet : Model {
  ResNet(const Dims& image, const std::vector<int64_t>& blocks, int64_t width, int64_t classes);
  Tensor operator()(const Tensor& x) override;

  nn::Conv2d conv;
  nn::BatchNorm2d bn;
  nn::Sequential layers;
  nn::Linear fc;
};

/// 1 x 1, 3 x 3, 1 x 1 convolutions and a shortcut.
struct Bottleneck : nn::Module {
  Bottleneck(int64_t in, int64_t mid, int64_t out, int64_t stride);
  Tensor operator()(const Tensor& x);

  nn::Sequential a, b, c, down;
};
/// ResNet-50.
struct ResNet50 : Model {
  ResNet50(const Dims& image, int64_t classes);
  Tensor operator()(const Tensor& x) override;

  nn::Sequential stem, layers;
  nn::Linear fc;
};

struct GptOptions {
  int64_t vocab, block, layers, heads, embd;
};
/// One layer of a GPT: attention and a two-layer perceptron, each behind a norm and added to its input.
struct GptBlock : nn::Module {
  GptBlock(int64_t embd, int64_t heads);
  /// cache: of what comes before x.
  Tensor operator()(const Tensor& x, nn::KeyValueCache* cache = nullptr);

  int64_t heads;
  nn::LayerNorm ln1, ln2;
  nn::Linear qkv, proj, up, down;
};
/// A decoder-only transformer as GPT-2, its head tied to the token embedding: indices [B, T], T <= block -> logits [B,
/// T, vocab].
struct Gpt : Model {
  explicit Gpt(const GptOptions& o);
  Tensor operator()(const Tensor& indices) override;
  /// The same for positions that follow those in `caches` (of caches()), which take the new ones in.
  Tensor operator()(const Tensor& indices, std::vector<nn::KeyValueCache>& caches);
  /// One for each block, empty.
  std::vector<nn::KeyValueCache> caches() const;

  GptOptions options;
  nn::Embedding wte, wpe;
  nn::ModuleList<GptBlock> blocks{*this, "blocks"};
  nn::LayerNorm lnf;
  nn::Linear head;

 private:
  /// Of position `first` on.
  Tensor embed(const Tensor& indices, int64_t first);
};

/// The model that an entry of workloads.json (or a training trace) describes by "kind" and its sizes.
std::unique_ptr<Model> make_model(const nlohmann::json& workload);

}  // namespace weft::models
