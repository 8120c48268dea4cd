#include "core/ops/recurrent.h"
#include "autograd/autograd.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/random.h"
#include "core/ops/reduce.h"
#include "tests/cuda/need_device.h"

namespace {

using namespace weft;

TEST_CASE("recurrent layers on a device: packed, in both directions, with projections, and their gradients") {
  NEED_DEVICES(1);
  for (Recurrence kind : {Recurrence::tanh, Recurrence::relu, Recurrence::lstm, Recurrence::gru})
    for (bool packed : {false, true})
      for (bool reverse : {false, true})
        for (bool projected : {false, true}) {
          if (projected && kind != Recurrence::lstm) continue;
          const int64_t hidden = 5, state = projected ? 3 : hidden, gates = gates_of(kind) * hidden;
          const Tensor sizes = packed ? tensor({4, 3, 3, 1, 1}).to(DType::i64) : Tensor();
          std::vector<Tensor> results[2];
          for (int d = 0; d < 2; ++d) {
            Generator generator(7);
            std::vector<Tensor> leaves;
            auto make = [&](int64_t rows, int64_t columns) {
              Tensor t = randn({rows, columns}, {.dtype = DType::f64}, &generator);
              if (columns == 1) t = t.squeeze(1);
              if (d == 1) t = t.to("cuda");
              t.set_requires_grad(true);
              leaves.push_back(t);
              return t;
            };
            const Tensor x = make(12, 6), h = make(4, state), c = make(4, hidden);
            const RecurrentWeights w{make(gates, 6), make(gates, state), make(gates, 1), make(gates, 1),
                                     projected ? make(state, hidden) : Tensor()};
            const RecurrentResult r =
                recurrent_layer(kind, x, sizes, h, kind == Recurrence::lstm ? c : Tensor(), w, reverse);
            Tensor loss = r.output.mul(r.output).sum().add(r.h.sum());
            if (r.c.defined()) loss = loss.add(r.c.mul(r.c).sum());
            loss.backward();
            results[d] = {r.output, r.h};
            for (const Tensor& leaf : leaves)
              if (leaf.grad().defined()) results[d].push_back(leaf.grad());
          }
          REQUIRE(results[0].size() == results[1].size());
          for (size_t i = 0; i < results[0].size(); ++i)
            CHECK(results[1][i].detach().to("cpu").sub(results[0][i].detach()).abs().max().item<double>() < 1e-10);
        }
}

}  // namespace
