#include <cstdio>
#include <regex>

#include "core/error.h"
#include "core/registry.h"
#include "core/thread_state.h"
#include "optim/adam.h"
#include "tools/weft/bench.h"
#include "tools/weft/json_file.h"
#include "weft.h"

namespace weft::bench {
namespace {

using nlohmann::json;

// A case: what runs, and the inputs that get gradients.
struct Case {
  std::function<Tensor()> run;
  std::vector<Tensor> inputs;
};

std::string shape_text(const json& shapes) {
  std::string out;
  for (const auto& s : shapes) {
    if (!out.empty()) out += ",";
    for (size_t i = 0; i < s.size(); ++i) out += (i ? "x" : "") + std::to_string(s[i].get<int64_t>());
  }
  return out;
}

// Empty `run`: no such case here.
Case make_case(const json& c, DType dtype) {
  std::vector<Tensor> t;
  for (const auto& s : c.at("shapes")) t.push_back(randn(Dims(s.get<std::vector<int64_t>>())).to(dtype));
  if (c.value("grad", false))
    for (Tensor& x : t) x.set_requires_grad(true);
  const std::string op = c.at("op");
  const Dims first = t[0].sizes();
  const Dims rows = t.size() > 1 ? t[1].sizes() : Dims();
  using F = std::function<Tensor()>;
  auto index = [&] { return randint(0, first[0], {c.at("index").get<int64_t>()}); };
  if (op == "embedding") return {F([t, i = index()] { return embedding(i, t[0]); }), t};
  if (op == "index_add") return {F([t, i = index()] { return index_add(t[0], 0, i, t[1]); }), t};
  if (op == "gather") return {F([t, i = randint(0, 1024, {4096, 1024})] { return gather(t[0], 1, i); }), t};
  if (op == "cross_entropy")
    return {F([t, y = randint(0, first[1], {first[0]})] { return cross_entropy(t[0], y); }), t};
  if (op == "adamw") {
    std::vector<Tensor> p;
    for (const Tensor& x : t) {
      p.push_back(x.detach().set_requires_grad(true));
      p.back().set_grad(randn(x.sizes()));
    }
    auto o = std::make_shared<optim::AdamW>(p);
    return {F([o] {
              o->step();
              return Tensor();
            }),
            {}};
  }
  if (op == "lstm") {
    auto m = std::make_shared<nn::LSTM>(first[2], c.at("hidden").get<int64_t>(),
                                        nn::LstmOptions{.num_layers = c.at("layers").get<int64_t>()});
    std::vector<Tensor> inputs = t;
    for (const Tensor& p : m->parameters()) inputs.push_back(p);
    return {F([t, m] { return (*m)(t[0]).first; }), inputs};
  }
  if (op == "batch_norm") {
    return {F([t, m = zeros({first[1]}), v = ones({first[1]})] {
              return batch_norm(t[0], m, v, {.weight = t[1], .bias = t[2], .training = true});
            }),
            t};
  }
  if (op == "mul_chain20")
    return {F([t] {
              Tensor x = t[0];
              for (int i = 0; i < 20; ++i) x = x * t[1];
              return x;
            }),
            t};
  const std::map<std::string, F> simple = {
      {"matmul", [t] { return matmul(t[0], t[1]); }},
      {"bmm", [t] { return bmm(t[0], t[1]); }},
      {"linear_gelu", [t] { return gelu(linear(t[0], t[1], t[2]), {.approximate = "tanh"}); }},
      {"add", [t] { return t[0] + t[1]; }},
      {"mul_bcast", [t] { return t[0] * t[1]; }},
      {"add_t", [t] { return t[0] + t[1].t(); }},
      {"exp", [t] { return t[0].exp(); }},
      {"tanh", [t] { return t[0].tanh(); }},
      {"erf", [t] { return t[0].erf(); }},
      {"gelu", [t] { return gelu(t[0]); }},
      {"chain", [t] { return leaky_relu(gelu(t[0] * t[1] + t[2], {.approximate = "tanh"}) * sigmoid(t[2]) + t[0]); }},
      {"copy_t", [t] { return t[0].t().contiguous(); }},
      {"cast_bf16", [t] { return t[0].to(DType::bf16); }},
      {"sum", [t] { return t[0].sum(); }},
      {"sum_rows", [t] { return t[0].sum({.dim = 1}); }},
      {"sum_cols", [t] { return t[0].sum({.dim = 0}); }},
      {"argmax", [t] { return t[0].argmax(1); }},
      {"var", [t] { return t[0].var({.dim = 1}); }},
      {"cumsum", [t] { return t[0].cumsum(1); }},
      {"sort", [t] { return std::get<0>(t[0].sort(1)); }},
      {"topk", [t] { return std::get<0>(t[0].topk(16)); }},
      {"softmax", [t] { return t[0].softmax(-1); }},
      {"layer_norm", [t, rows] { return layer_norm(t[0], rows, {.weight = t[1], .bias = t[2]}); }},
      {"rms_norm", [t, rows] { return rms_norm(t[0], rows, {.weight = t[1]}); }},
      {"sdpa_causal", [t] { return scaled_dot_product_attention(t[0], t[1], t[2], {.is_causal = true}); }},
      {"conv2d_3x3", [t] { return conv2d(t[0], t[1], {}, {.padding = 1}); }},
      {"conv2d_1x1", [t] { return conv2d(t[0], t[1]); }},
      {"max_pool2d", [t] { return max_pool2d(t[0], 2); }},
      {"dropout", [t] { return dropout(t[0], 0.1); }},
      {"randn", [first] { return randn(first); }},
      {"view",
       [t] {
         return t[0].view({2, 2});
       }},
  };
  auto it = simple.find(op);
  return it == simple.end() ? Case{} : Case{it->second, t};
}

void print(const std::string& name, double us) {
  std::printf("%s\n", json{{"name", name}, {"us", std::round(us * 1000) / 1000}}.dump().c_str());
  std::fflush(stdout);
}

}  // namespace

int run_kernels(const KernelOptions& o) {
  WEFT_CHECK(Device(o.device).is_cpu(), "bench: no device {}: this build has no CUDA backend", o.device);
  const std::regex only(o.only);
  int done = 0;
  for (const json& c : tools::read_json<json>(o.cases)) {
    DType dtype = DType::f32;
    const std::string dtype_name = c.value("dtype", "f32");
    WEFT_CHECK(parse_dtype(dtype_name, dtype), "bench: unknown dtype {}", dtype_name);
    const std::string name = c.at("op").get<std::string>() + "/" + shape_text(c.at("shapes")) + "/" + dtype_name;
    if (!o.only.empty() && !std::regex_search(name, only) && !std::regex_search(name + "/grad", only)) continue;
    manual_seed(0);
    Case k = make_case(c, dtype);
    if (!k.run) {
      std::fprintf(stderr, "bench: no op for %s\n", name.c_str());
      continue;
    }
    ++done;
    {
      NoGrad guard;
      print(name, best_us([&] { k.run(); }));
    }
    if (!c.value("grad", false)) continue;
    Tensor cotangent = randn(k.run().sizes()).to(dtype);
    print(name + "/grad", best_us([&] { grad({k.run()}, k.inputs, {.grad_outputs = {cotangent}}); }));
  }
  WEFT_CHECK(done > 0, "bench: no case matches");
  return 0;
}

int run_op(const OpOptions& o) {
  DType dtype = DType::f32;
  WEFT_CHECK(parse_dtype(o.dtype, dtype), "bench: unknown dtype {}", o.dtype);
  WEFT_CHECK(find_op(o.name), "bench: there is no op named {}", o.name);
  manual_seed(0);
  std::vector<Value> args;
  std::vector<Tensor> inputs;
  double bytes = 0;
  for (size_t at = 0; at <= o.shapes.size();) {
    size_t comma = std::min(o.shapes.find(',', at), o.shapes.size());
    std::vector<int64_t> sizes;
    const std::string one = o.shapes.substr(at, comma - at);
    for (size_t i = 0; i < one.size();) {
      size_t x = std::min(one.find('x', i), one.size());
      const std::string digits = one.substr(i, x - i);
      WEFT_CHECK(!digits.empty() && digits.size() < 12 && digits.find_first_not_of("0123456789") == std::string::npos,
                 "bench: \"{}\" is no shape; write 64x32", one);
      sizes.push_back(std::stoll(digits));
      i = x + 1;
    }
    Tensor t = randn(Dims(sizes)).to(dtype);
    if (o.grad) t.set_requires_grad(true);
    inputs.push_back(t);
    args.push_back(t);
    bytes += static_cast<double>(t.nbytes());
    at = comma + 1;
  }
  auto run = [&] {
    Value v = call(o.name, args);
    return v.is_tensor() ? v.as_tensor() : Tensor();
  };
  Tensor out = run();
  if (out.defined()) bytes += static_cast<double>(out.nbytes());
  double us = 0;
  if (o.grad) {
    WEFT_CHECK(out.defined() && out.requires_grad(), "bench: {} has no gradient here", o.name);
    Tensor cotangent = randn(out.sizes()).to(out.dtype());
    us = best_us([&] { grad({run()}, inputs, {.grad_outputs = {cotangent}, .allow_unused = true}); });
  } else {
    NoGrad guard;
    us = best_us([&] { run(); });
  }
  json j = {{"name", o.name + "/" + o.shapes + "/" + o.dtype + (o.grad ? "/grad" : "")}, {"us", us}};
  if (!o.grad) j["gb_per_s"] = bytes / us * 1e-3;
  std::printf("%s\n", j.dump().c_str());
  return 0;
}

}  // namespace weft::bench
