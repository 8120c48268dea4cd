#pragma once
// Models small enough to train for a hundred steps in a test, with dropout and parts that can be checkpointed.
#include "weft.h"

namespace weft::test {

struct GptBlock : nn::Layer<GptBlock> {
  GptBlock(int64_t width, int64_t heads)
      : heads(heads),
        norm1(*this, "norm1", width),
        norm2(*this, "norm2", width),
        qkv(*this, "qkv", width, 3 * width),
        proj(*this, "proj", width, width),
        up(*this, "up", width, 4 * width),
        down(*this, "down", 4 * width, width) {}
  Tensor forward(const Tensor& x) {
    const int64_t batch = x.size(0), time = x.size(1), width = x.size(2);
    std::vector<Tensor> parts = qkv(norm1(x)).split(width, 2);
    for (Tensor& part : parts) part = part.view({batch, time, heads, width / heads}).transpose(1, 2);
    const Tensor y = scaled_dot_product_attention(parts[0], parts[1], parts[2], {.is_causal = true});
    const Tensor z = x + drop(proj(y.transpose(1, 2).reshape({batch, time, width})));
    return z + drop(down(gelu(up(norm2(z)))));
  }

  int64_t heads;
  nn::LayerNorm norm1, norm2;
  nn::Linear qkv, proj, up, down;
  nn::Dropout drop{*this, "drop", 0.1};
};

/// Indices [batch, time] -> logits [batch, time, vocab]; the head is tied to the embedding.
struct Gpt : nn::Layer<Gpt> {
  static constexpr int64_t vocab = 17, time = 16;
  explicit Gpt(int64_t width = 16, int64_t heads = 2, int64_t layers = 2)
      : tokens(*this, "tokens", vocab, width),
        places(*this, "places", time, width),
        norm(*this, "norm", width),
        head(*this, "head", width, vocab, {.bias = false}) {
    for (int64_t i = 0; i < layers; ++i) blocks.emplace_back(width, heads);
    head.weight = tokens.weight;
  }
  Tensor forward(const Tensor& indices) {
    Tensor x = drop(tokens(indices) + places(arange(indices.size(1))));
    for (GptBlock& block : blocks)
      x = checkpointing ? checkpoint([&block](const Tensor& y) { return block(y); }, x) : block(x);
    return head(norm(x));
  }

  nn::Embedding tokens, places;
  nn::ModuleList<GptBlock> blocks{*this, "blocks"};
  nn::LayerNorm norm;
  nn::Linear head;
  nn::Dropout drop{*this, "drop", 0.1};
  bool checkpointing = false;
};

/// Images [batch, 2, 8, 8] -> logits [batch, 5].
struct Conv : nn::Layer<Conv> {
  nn::Conv2d conv{*this, "conv", 2, 6, 3, {.padding = 1}};
  nn::BatchNorm2d norm{*this, "norm", 6};
  nn::Dropout drop{*this, "drop", 0.2};
  nn::Linear up{*this, "up", 6 * 4 * 4, 20}, down{*this, "down", 20, 5};
  Tensor forward(const Tensor& x) {
    const auto features = [this](const Tensor& y) { return drop(relu(norm(conv(y)))); };
    const Tensor h = checkpointing ? checkpoint(features, x) : features(x);
    return down(drop(tanh(up(max_pool2d(h, 2).flatten(1)))));
  }
  bool checkpointing = false;
};

}  // namespace weft::test
