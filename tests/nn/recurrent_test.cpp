#include <cmath>

#include "autograd/autograd.h"
#include "autograd/gradcheck.h"
#include "core/error.h"
#include "core/parallel.h"
#include "core/thread_state.h"
#include "tests/catch.h"
#include "tests/device.h"
#include "tests/same_bits.h"
#include "weft.h"

using namespace weft;

namespace {

const TensorOptions kF64{.dtype = DType::f64};

// Inputs of recurrent_layer, random and wanting gradients: x, h, c, W_ih, W_hh, b_ih, b_hh, W_hr.
std::vector<Tensor> random_inputs(Recurrence kind, int64_t rows, int64_t batch, int64_t input, int64_t hidden,
                                  int64_t projection, bool bias) {
  const int64_t gates = gates_of(kind) * hidden, state = projection ? projection : hidden;
  std::vector<Tensor> in = {randn({rows, input}, kF64),
                            randn({batch, state}, kF64),
                            kind == Recurrence::lstm ? randn({batch, hidden}, kF64) : Tensor(),
                            randn({gates, input}, kF64),
                            randn({gates, state}, kF64),
                            bias ? randn({gates}, kF64) : Tensor(),
                            bias ? randn({gates}, kF64) : Tensor(),
                            projection ? randn({state, hidden}, kF64) : Tensor()};
  for (Tensor& t : in)
    if (t.defined()) t.set_requires_grad(true);
  return in;
}
template <class F>
std::vector<Tensor> results(F layer, Recurrence kind, const std::vector<Tensor>& in, const Tensor& sizes,
                            bool reverse) {
  const RecurrentResult r = layer(kind, in[0], sizes, in[1], in[2], {in[3], in[4], in[5], in[6], in[7]}, reverse);
  std::vector<Tensor> out = {r.output, r.h};
  if (r.c.defined() && kind == Recurrence::lstm) out.push_back(r.c);
  return out;
}
// The defined ones, and f with the others put back.
std::vector<Tensor> defined(const std::vector<Tensor>& all) {
  std::vector<Tensor> out;
  for (const Tensor& t : all)
    if (t.defined()) out.push_back(t);
  return out;
}
std::vector<Tensor> put_back(const std::vector<Tensor>& given, const std::vector<Tensor>& like) {
  std::vector<Tensor> out;
  size_t at = 0;
  for (const Tensor& t : like) out.push_back(t.defined() ? given[at++] : Tensor());
  return out;
}
Tensor host_sizes(const std::vector<int64_t>& sizes) { return tensor(sizes, {.device = "cpu"}); }

template <class F>
std::string message(F&& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "no error";
}

constexpr Recurrence kKinds[] = {Recurrence::tanh, Recurrence::relu, Recurrence::lstm, Recurrence::gru};

}  // namespace

TEST_CASE("recurrent_layer: fused kernels agree with public ops") {
  manual_seed(1);
  // Sizes around the widths of vectors and of tiles.
  for (Recurrence kind : kKinds)
    for (const auto& [batch, hidden] : {std::pair<int64_t, int64_t>{1, 3}, {7, 16}, {13, 37}, {101, 70}})
      for (bool reverse : {false, true})
        for (bool packed : {false, true}) {
          const int64_t projection = kind == Recurrence::lstm && packed ? hidden / 2 + 1 : 0;
          const Tensor sizes = packed ? host_sizes({batch, batch, (batch + 1) / 2, 1}) : Tensor();
          const int64_t rows = packed ? sizes.sum().item<int64_t>() : 3 * batch;
          const auto in = random_inputs(kind, rows, batch, 5, hidden, projection, !reverse);
          const auto fused = results(recurrent_layer, kind, in, sizes, reverse);
          const auto plain = results(detail::composite_recurrent_layer, kind, in, sizes, reverse);
          std::vector<Tensor> weights;
          for (const Tensor& t : fused) weights.push_back(randn(t.sizes(), kF64));
          const auto g = grad(fused, defined(in), {.grad_outputs = weights});
          const auto want = grad(plain, defined(in), {.grad_outputs = weights});
          for (size_t i = 0; i < fused.size(); ++i) CHECK(fused[i].allclose(plain[i], 1e-9, 1e-9));
          for (size_t i = 0; i < g.size(); ++i) CHECK(g[i].allclose(want[i], 1e-8, 1e-8));
        }
}

TEST_CASE("recurrent_layer: gradients and their gradients") {
  manual_seed(2);
  for (Recurrence kind : {Recurrence::tanh, Recurrence::lstm, Recurrence::gru})
    for (bool reverse : {false, true}) {
      const auto in = random_inputs(kind, 5, 3, 2, 3, kind == Recurrence::lstm && reverse ? 2 : 0, true);
      const Tensor sizes = host_sizes({3, 2});
      auto f = [&](const std::vector<Tensor>& x) {
        return results(recurrent_layer, kind, put_back(x, in), sizes, reverse);
      };
      CHECK(gradcheck(f, defined(in)));
      CHECK(gradgradcheck(f, defined(in)));
    }
}

TEST_CASE("recurrent_layer: only some results or inputs take part") {
  manual_seed(3);
  auto in = random_inputs(Recurrence::lstm, 6, 2, 3, 4, 0, true);
  for (size_t i : {size_t{0}, size_t{3}, size_t{5}}) in[i].set_requires_grad(false);
  const std::vector<Tensor> wanted = {in[1], in[4], in[6]};
  auto only = [&](auto layer, size_t i) {
    return grad({results(layer, Recurrence::lstm, in, {}, false)[i].sum()}, wanted);
  };
  for (size_t i = 0; i < 3; ++i) {
    const auto g = only(recurrent_layer, i), want = only(detail::composite_recurrent_layer, i);
    for (size_t k = 0; k < wanted.size(); ++k) CHECK(g[k].allclose(want[k], 1e-9, 1e-9));
  }
}

TEST_CASE("LSTM and GRU: one and two threads give the same bits") {
  const int before = num_threads();
  auto run = [](auto make) {
    std::vector<std::vector<Tensor>> all;
    for (int threads : {1, 2}) {
      set_num_threads(threads);
      manual_seed(4);
      auto m = make();
      const Tensor x = randn({9, 40, 70}).set_requires_grad(true);
      const Tensor y = m(x).first;
      std::vector<Tensor> wanted = m.parameters();
      wanted.push_back(x);
      std::vector<Tensor> out = grad({y}, wanted, {.grad_outputs = {randn(y.sizes())}});
      out.push_back(y);
      all.push_back(out);
    }
    for (size_t i = 0; i < all[0].size(); ++i) CHECK(same_bits(all[0][i], all[1][i]));
  };
  run([] { return nn::LSTM(70, 150, {.num_layers = 2, .bidirectional = true, .proj_size = 33}); });
  run([] { return nn::GRU(70, 150, {.bidirectional = true}); });
  set_num_threads(before);
}

TEST_CASE("recurrent layers: shapes, names, values at the start") {
  manual_seed(5);
  nn::LSTM lstm(6, 9, {.num_layers = 2, .batch_first = true, .bidirectional = true, .proj_size = 4});
  auto [y, state] = lstm(randn({5, 7, 6}));
  CHECK(y.sizes() == Dims{5, 7, 8});
  CHECK(state.h.sizes() == Dims{4, 5, 4});
  CHECK(state.c.sizes() == Dims{4, 5, 9});
  std::vector<std::string> names;
  for (const auto& [name, t] : lstm.named_parameters()) names.push_back(name);
  REQUIRE(names.size() == 20);
  CHECK(std::vector<std::string>(names.begin(), names.begin() + 6) ==
        std::vector<std::string>{"weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "weight_hr_l0",
                                 "weight_ih_l0_reverse"});
  CHECK(names.back() == "weight_hr_l1_reverse");
  CHECK(lstm.get_parameter("weight_ih_l1").sizes() == Dims{36, 8});
  CHECK(lstm.str() == "LSTM(6, 9, proj_size=4, num_layers=2, batch_first=True, bidirectional=True)");
  nn::GRU gru(300, 100);
  const Tensor w = gru.get_parameter("weight_ih_l0");
  CHECK(w.abs().amax().item<double>() <= 0.1);
  CHECK(w.std().item<double>() == Approx(0.1 / std::sqrt(3.0)).epsilon(0.05));
  // A copy shares the parameters, a clone has its own.
  nn::GRU tied = gru, own = clone(gru);
  CHECK(tied.get_parameter("weight_ih_l0").is_same(w));
  CHECK(own.get_parameter("weight_ih_l0").data_ptr() != w.data_ptr());

  nn::RNN rnn(6, 9, {.nonlinearity = "relu"});
  const Tensor x = randn({7, 6});
  auto [alone, h] = rnn(x);
  CHECK(alone.sizes() == Dims{7, 9});
  CHECK(h.sizes() == Dims{1, 9});
  CHECK(alone.allclose(rnn(x.unsqueeze(1)).first.squeeze(1)));
  // Step by step with the state handed on.
  auto [first, h1] = rnn(x.narrow(0, 0, 3));
  CHECK(rnn(x.narrow(0, 3, 4), h1).first.allclose(alone.narrow(0, 3, 4), 1e-5, 1e-6));
}

TEST_CASE("LSTM: the way back reads the sequence from its end") {
  manual_seed(6);
  nn::LSTM both(4, 5, {.bidirectional = true}), one(4, 5);
  for (const char* name : {"weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"}) {
    NoGrad guard;
    one.get_parameter(name).copy_(both.get_parameter(std::string(name) + "_reverse"));
  }
  const Tensor x = randn({6, 3, 4});
  const Tensor want = one(x.flip({0})).first.flip({0});
  CHECK(both(x).first.narrow(2, 5, 5).allclose(want, 1e-5, 1e-6));
}

TEST_CASE("packed sequences") {
  manual_seed(10);
  namespace rnn = nn::utils::rnn;
  const std::vector<Tensor> sequences = {randn({2, 4}), randn({5, 4}), randn({3, 4})};
  CHECK(message([&] { rnn::pack_sequence(sequences); }).find("the lengths grow") != std::string::npos);
  const nn::PackedSequence p = rnn::pack_sequence(sequences, false);
  CHECK(p.data.sizes() == Dims{10, 4});
  CHECK(p.batch_sizes.equal(host_sizes({3, 3, 2, 1, 1})));
  CHECK(p.sorted_indices.equal(tensor(std::vector<int64_t>{1, 2, 0})));
  const auto [padded, lengths] =
      rnn::pad_packed_sequence(p, {.batch_first = true, .padding_value = 9, .total_length = 6});
  CHECK(lengths.equal(host_sizes({2, 5, 3})));
  CHECK(padded.sizes() == Dims{3, 6, 4});
  for (int64_t i = 0; i < 3; ++i) {
    const Tensor& s = sequences[static_cast<size_t>(i)];
    CHECK(padded.select(0, i).narrow(0, 0, s.size(0)).equal(s));
    CHECK(padded.select(0, i).narrow(0, s.size(0), 6 - s.size(0)).eq(9).all().item<bool>());
  }
  // A layer sees every sequence as if it were alone.
  nn::LSTM m(4, 5, {.num_layers = 2, .bidirectional = true});
  const auto [y, state] = m(p, nn::LstmState{ones({4, 3, 5}), ones({4, 3, 5})});
  const Tensor all = rnn::pad_packed_sequence(y).first;
  for (int64_t i = 0; i < 3; ++i) {
    const Tensor& s = sequences[static_cast<size_t>(i)];
    const auto [alone, end] = m(s, nn::LstmState{ones({4, 5}), ones({4, 5})});
    CHECK(all.select(1, i).narrow(0, 0, s.size(0)).allclose(alone, 1e-5, 1e-6));
    CHECK(state.h.select(1, i).allclose(end.h, 1e-5, 1e-6));
    CHECK(state.c.select(1, i).allclose(end.c, 1e-5, 1e-6));
  }
  CHECK(message([&] {
          rnn::pack_padded_sequence(randn({3, 2, 4}), {4, 1});
        }).find("lie in 1 to 3") != std::string::npos);
}

TEST_CASE("recurrent cells take the steps of a layer") {
  manual_seed(7);
  nn::LSTM layer(4, 5);
  nn::LSTMCell cell(4, 5);
  for (const char* name : {"weight_ih", "weight_hh", "bias_ih", "bias_hh"}) {
    NoGrad guard;
    cell.get_parameter(name).copy_(layer.get_parameter(std::string(name) + "_l0"));
  }
  const Tensor x = randn({6, 3, 4});
  const Tensor y = layer(x).first;
  nn::LstmState s;
  for (int64_t t = 0; t < 6; ++t) {
    s = cell(x.select(0, t), s);
    CHECK(s.h.allclose(y.select(0, t), 1e-5, 1e-6));
  }
  CHECK(nn::GRUCell(4, 5)(randn({4})).sizes() == Dims{5});
  CHECK(nn::RNNCell(4, 5, {.nonlinearity = "relu"}).str() == "RNNCell(4, 5, nonlinearity=relu)");
}

TEST_CASE("LSTM: dropout between layers, in training only") {
  manual_seed(8);
  nn::LSTM m(4, 5, {.num_layers = 2, .dropout = 0.5});
  const Tensor x = randn({6, 3, 4});
  CHECK_FALSE(m(x).first.allclose(m(x).first));
  m.eval();
  CHECK(m(x).first.allclose(m(x).first));
}

TEST_CASE("recurrent layers in bf16 keep sums in f32") {
  manual_seed(9);
  const nn::GRU exact(8, 16);
  nn::GRU m = clone(exact);
  m.to(DType::bf16);
  const Tensor x = randn({20, 3, 8});
  const Tensor want = exact(x).first;
  const Tensor got = m(x.to(DType::bf16)).first;
  CHECK(got.dtype() == DType::bf16);
  CHECK(got.to(DType::f32).allclose(want, 0.03, 0.02));
  const auto g = grad({got.sum()}, m.parameters());
  CHECK(g[0].dtype() == DType::bf16);
}

TEST_CASE("recurrent layers name what does not fit") {
  nn::LSTM m(4, 5);
  CHECK(message([&] {
          m(randn({2, 3, 6}));
        }) == test::here("LSTM: the last size of the input [6, 6] f32 cpu is not input_size 4"));
  CHECK(message([&] { m(randn({4})); }).find("LSTM: the input needs 3 dimensions, or 2 without a batch") == 0);
  CHECK(message([&] {
          m(randn({2, 3, 4}), nn::LstmState{zeros({1, 2, 5}), zeros({1, 3, 5})});
        }).find("LSTM: the state h is") == 0);
  CHECK(message([&] { m(randn({2, 3, 4}), nn::LstmState{zeros({1, 3, 5}), {}}); }) == "LSTM: a state needs h and c");
  CHECK(message([&] { m(randn({2, 3, 4}, kF64)); }).find("convert one with .to()") != std::string::npos);
  CHECK(message([&] { m(randn({0, 3, 4})); }).find("needs at least one step") != std::string::npos);
  CHECK(message([] { nn::LSTM(4, 5, {.proj_size = 5}); }) ==
        "LSTM: proj_size is 5; it must be smaller than hidden_size 5, or 0 for none");
  CHECK(message([] { nn::RNN(4, 0); }) == "RNN: hidden_size is 0; it must be positive");
  CHECK(message([] { nn::RNN(4, 5, {.nonlinearity = "gelu"}); }) ==
        "RNN: nonlinearity is \"gelu\"; give \"tanh\" or \"relu\"");
  nn::GRUCell cell(4, 5);
  CHECK(message([&] { cell(randn({2, 3})); }).find("GRUCell: the last size of the input") == 0);
  CHECK(message([&] { cell(randn({2, 4}), randn({3, 5})); }).find("GRUCell: the state h is") == 0);
  const nn::PackedSequence bad{randn({4, 4}), host_sizes({1, 3})};
  CHECK(message([&] { m(bad); }).find("batch_sizes[1] is 3") != std::string::npos);
}
