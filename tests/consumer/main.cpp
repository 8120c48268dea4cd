// Trains a small network with weft as installed, beside a header of this project that is called core/tensor.h too.
#include <weft/weft.h>

#include <cstdio>

#include "core/tensor.h"

using namespace weft;

struct Mlp : nn::Module {
  nn::Linear up{*this, "up", 2, 32}, down{*this, "down", 32, 1};
  Tensor operator()(const Tensor& x) { return down(tanh(up(x))); }
};

int main() {
  consumer::Tensor own;
  manual_seed(1);
  Tensor x = rand({128, 2}) * 4 - 2;
  Tensor y = sin(x.select(1, 0)).unsqueeze(1) * x.select(1, 1).unsqueeze(1);
  Mlp model;
  optim::AdamW optimizer(model.parameters(), {.lr = 1e-2});
  double first = 0, last = 0;
  for (int step = 0; step < 300; ++step) {
    Tensor loss = mse_loss(model(x), y);
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
    last = loss.item<double>();
    if (step == 0) first = last;
  }
  std::printf("own tensor %d; loss %.4f at first, %.4f at last\n", own.id, first, last);
  return last < first / 20 ? 0 : 1;
}
