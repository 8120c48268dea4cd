// calls NAME TIMES: makes one call so many times on one thread. check_calls.py counts the instructions of two runs.
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "core/parallel.h"
#include "optim/adam.h"
#include "tools/weft/models.h"
#include "weft.h"

using namespace weft;

int main(int argc, char** argv) {
  if (argc != 3) return std::fprintf(stderr, "usage: calls NAME TIMES\n"), 2;
  set_num_threads(1);
  manual_seed(0);
  const Tensor one = randn({1}), four = randn({4}), square = randn({8, 8});
  const Tensor leaf = randn({4}).set_requires_grad(true), factor = randn({4}).set_requires_grad(true);
  const Tensor cotangent = ones({4});
  // The workload mlp-tiny of the peers.
  auto model = models::make_model({{"kind", "mlp"}, {"sizes", {16, 16, 16}}});
  optim::AdamW optimizer(model->parameters(), {.lr = 1e-3});
  const Tensor x = randn({4, 16}), y = randint(0, 16, {4});

  const std::map<std::string, std::function<void()>> calls = {
      {"add",
       [&] {
         NoGrad guard;
         one + one;
       }},
      {"view",
       [&] {
         NoGrad guard;
         four.view({2, 2});
       }},
      {"matmul_8x8",
       [&] {
         NoGrad guard;
         matmul(square, square);
       }},
      {"mul_chain20_grad",
       [&] {
         Tensor t = leaf;
         for (int i = 0; i < 20; ++i) t = t * factor;
         grad({t}, {leaf, factor}, {.grad_outputs = {cotangent}});
       }},
      {"mlp_tiny_step",
       [&] {
         optimizer.zero_grad();
         cross_entropy((*model)(x), y).backward();
         optimizer.step();
       }},
  };
  auto it = calls.find(argv[1]);
  if (it == calls.end()) return std::fprintf(stderr, "calls: there is no call %s\n", argv[1]), 2;
  for (int i = std::atoi(argv[2]); i > 0; --i) it->second();
  return 0;
}
