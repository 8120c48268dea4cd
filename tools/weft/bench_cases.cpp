#include "tools/weft/bench_cases.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <regex>

#include "core/error.h"
#include "core/parallel.h"
#include "core/thread_state.h"
#include "optim/adam.h"
#include "tools/weft/bench_ceilings.h"
#include "tools/weft/device.h"
#include "weft.h"

namespace weft::bench {
namespace {

using nlohmann::json;

using Shapes = std::vector<std::vector<int64_t>>;

double count(const std::vector<int64_t>& shape) {
  double n = 1;
  for (int64_t d : shape) n *= static_cast<double>(d);
  return n;
}

// Multiplications and additions of the products of a forward pass; 0: the op has none.
double product_flops(const json& c, const std::string& op, const Shapes& s, double out) {
  auto size = [](int64_t d) { return static_cast<double>(d); };
  auto starts = [&](const char* with) { return op.rfind(with, 0) == 0; };
  if (op == "lstm") {
    const double h = c.at("hidden"), layers = c.at("layers"), steps = size(s[0][0]) * size(s[0][1]);
    return 2 * steps * 4 * h * ((size(s[0][2]) + h) + (layers - 1) * 2 * h);
  }
  if (s.size() < 2 || s[0].empty() || s[1].size() < 2) return 0;
  if (op == "matmul" || op == "mm" || op == "bmm") return 2 * count(s[0]) * size(s[1].back());
  if (starts("linear")) return 2 * count(s[0]) * size(s[1][0]);
  if (starts("conv")) return 2 * out * count(s[1]) / size(s[1][0]);
  if (starts("sdpa") || starts("scaled_dot_product"))
    return 2 * (count(s[0]) + out) * size(s[1][s[1].size() - 2]) / (op == "sdpa_causal" ? 2 : 1);
  return 0;
}

double flops_per_element(const std::string& op) {
  static const std::map<std::string, double> some = {
      {"gelu", 5}, {"chain", 15}, {"softmax", 5},       {"layer_norm", 7}, {"rms_norm", 4},    {"batch_norm", 7},
      {"var", 3},  {"adamw", 12}, {"cross_entropy", 4}, {"sort", 10},      {"mul_chain20", 20}};
  auto it = some.find(op);
  return it == some.end() ? 1 : it->second;
}

}  // namespace

std::string shapes_text(const json& shapes) {
  std::string out;
  for (const auto& s : shapes) {
    if (!out.empty()) out += ",";
    for (size_t i = 0; i < s.size(); ++i) out += (i ? "x" : "") + std::to_string(s[i].get<int64_t>());
  }
  return out;
}

Case make_case(const json& c, DType dtype, Device device) {
  std::vector<Tensor> t;
  for (const auto& s : c.at("shapes")) t.push_back(randn(Dims(s.get<std::vector<int64_t>>())).to(device, dtype));
  if (c.value("grad", false))
    for (Tensor& x : t) x.set_requires_grad(true);
  const std::string op = c.at("op");
  const Dims first = t[0].sizes();
  const Dims rows = t.size() > 1 ? t[1].sizes() : Dims();
  using F = std::function<Tensor()>;
  auto index = [&] { return randint(0, first[0], {c.at("index").get<int64_t>()}).to(device); };
  if (op == "embedding") return {F([t, i = index()] { return embedding(i, t[0]); }), t};
  if (op == "index_add") return {F([t, i = index()] { return index_add(t[0], 0, i, t[1]); }), t};
  if (op == "gather") return {F([t, i = randint(0, 1024, {4096, 1024}).to(device)] { return gather(t[0], 1, i); }), t};
  if (op == "cross_entropy")
    return {F([t, y = randint(0, first[1], {first[0]}).to(device)] { return cross_entropy(t[0], y); }), t};
  if (op == "adamw") {
    std::vector<Tensor> p;
    for (const Tensor& x : t) {
      p.push_back(x.detach().set_requires_grad(true));
      p.back().set_grad(randn(x.sizes()).to(device, dtype));
    }
    auto o = std::make_shared<optim::AdamW>(p);
    return {F([o] {
              o->step();
              return Tensor();
            }),
            {},
            p};
  }
  if (op == "lstm") {
    auto m = std::make_shared<nn::LSTM>(first[2], c.at("hidden").get<int64_t>(),
                                        nn::LstmOptions{.num_layers = c.at("layers").get<int64_t>()});
    m->to(device);
    std::vector<Tensor> inputs = t;
    for (const Tensor& p : m->parameters()) inputs.push_back(p);
    return {F([t, m] { return (*m)(t[0]).first; }), inputs};
  }
  if (op == "batch_norm") {
    return {F([t, m = zeros({first[1]}, {.device = device}), v = ones({first[1]}, {.device = device})] {
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
      {"randn", [first, device] { return randn(first, {.device = device}); }},
      {"view",
       [t] {
         return t[0].view({2, 2});
       }},
  };
  auto it = simple.find(op);
  return it == simple.end() ? Case{} : Case{it->second, t};
}

Work work_of(const json& c, DType dtype, bool grad, const Tensor& output) {
  const std::string op = c.at("op");
  const auto shapes = c.at("shapes").get<Shapes>();
  const double item = static_cast<double>(itemsize(dtype));
  double in = 0, most = 0;
  for (const auto& s : shapes) {
    in += item * count(s);
    most = std::max(most, count(s));
  }
  const double out = output.defined() ? static_cast<double>(output.nbytes()) : 0;
  const double out_count = output.defined() ? static_cast<double>(output.numel()) : 0;
  Work w{.flops = product_flops(c, op, shapes, out_count), .read = in, .written = out, .bf16 = dtype == DType::bf16};
  const bool products = w.flops > 0;
  if (!products) w.flops = flops_per_element(op) * std::max(most, out_count);
  double again = in, grads = in;  // read by backward beside the output's gradient, written by it
  if (op == "embedding") {        // at most the rows it looks up
    const double index = 8 * out_count / static_cast<double>(shapes[0][1]);
    w.read = std::min(in, out) + index;
    again = index;
  } else if (op == "gather") {
    w.read += 8 * out_count;
  } else if (op == "index_add") {
    w.read += 8 * static_cast<double>(shapes[1][0]);
  } else if (op == "randn") {
    w.read = 0;
  } else if (op == "view") {
    w.read = w.written = 0;
  } else if (op == "sort") {
    w.written += 8 * out_count;  // where each value came from
  } else if (op == "adamw") {    // parameter, gradient, two moments; all but the gradient written back
    w.read = 4 * in;
    w.written = 3 * in;
  }
  w.distinct = op == "adamw" ? w.read : w.read + w.written;
  if (grad) {
    w.flops *= products && op == "sdpa_causal" ? 3.5 : 3;  // attention's backward makes its scores again
    w.read += again + out;
    w.written += grads;
    w.distinct = 2 * (in + out);
  }
  return w;
}

Ceiling ceiling_of(const Work& w) {
  const double share = w.written / std::max(w.bytes(), 1.0);
  const Pattern p = share < 0.1    ? Pattern::read
                    : share < 0.42 ? Pattern::triad
                    : share < 0.75 ? Pattern::copy
                                   : Pattern::write;
  const double compute = w.flops / fma_peak(w.bf16, num_threads()) * 1e-3;
  const double memory = w.bytes() / bandwidth(p, w.distinct) * 1e-3;
  const double large = w.bytes() / bandwidth(p, kLargeBytes) * 1e-3;
  return compute > memory ? Ceiling{"compute", compute, std::max(compute, large)}
                          : Ceiling{pattern_name(p), memory, std::max(compute, large)};
}

namespace {

struct Named {
  std::string name;
  json c;
  DType dtype = DType::f32;
};

// The cases that o chooses.
std::vector<Named> chosen(const json& cases, const KernelOptions& o) {
  const Device device = tools::use_device(o.device, "bench");
  WEFT_CHECK(device.is_cpu() || !o.bits, "bench: --bits compares threads of the host; there are none on {}", o.device);
  const std::regex only(o.only);
  std::vector<Named> all;
  for (const json& c : cases) {
    const std::string dtype_name = c.value("dtype", "f32");
    Named n{c.at("op").get<std::string>() + "/" + shapes_text(c.at("shapes")) + "/" + dtype_name, c};
    WEFT_CHECK(parse_dtype(dtype_name, n.dtype), "bench: unknown dtype {}", dtype_name);
    if (!o.only.empty() && !std::regex_search(n.name, only) && !std::regex_search(n.name + "/grad", only)) continue;
    if (make_case(c, n.dtype, device).run)
      all.push_back(std::move(n));
    else
      std::fprintf(stderr, "bench: no op for %s\n", n.name.c_str());
  }
  WEFT_CHECK(!all.empty(), "bench: no case matches");
  return all;
}

// Everything that a case gives and changes, with the gradients if it has some, on so many threads.
std::vector<Tensor> results(const Named& n, int threads) {
  const int before = num_threads();
  set_num_threads(threads);
  manual_seed(0);
  const Case k = make_case(n.c, n.dtype);
  std::vector<Tensor> all = k.changed;
  const Tensor y = k.run();
  if (y.defined()) all.push_back(y.detach());
  if (n.c.value("grad", false))
    for (const Tensor& g : grad({y}, k.inputs, {.grad_outputs = {randn(y.sizes()).to(n.dtype)}})) all.push_back(g);
  set_num_threads(before);
  return all;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  const Tensor x = a.contiguous(), y = b.contiguous();
  return x.dtype() == y.dtype() && x.sizes() == y.sizes() && std::memcmp(x.data_ptr(), y.data_ptr(), x.nbytes()) == 0;
}

}  // namespace

int time_cases(const json& cases, const KernelOptions& o, const std::function<void(const Timed&)>& done) {
  const std::vector<Named> all = chosen(cases, o);
  const Device device(o.device);
  int failed = 0;
  const auto time_case = [&](const Named& n) {
    manual_seed(0);
    const Case k = make_case(n.c, n.dtype, device);
    auto time = [&](const std::string& name, const Work& work, const std::function<void()>& f) {
      Timed t{name, n.c.value("overhead", false), work, best_us(f, device)};
      if (o.one_thread && !t.overhead && ceiling_of(work).bound == "compute") {
        const int before = num_threads();
        set_num_threads(1);
        t.one_thread_us = best_us(f);
        set_num_threads(before);
      }
      done(t);
    };
    const auto mode = parse_compile_mode(o.mode);
    const auto timed = [&](const std::string& name, const Work& work, const auto& f) {
      auto fast = compile(f, {.mode = mode.value_or(CompileMode::default_)});
      if (mode) {
        settle([&] { fast(); }, [&] { return fast.stats(); });
        time(name, work, [&] { fast(); });
      } else {
        time(name, work, [&] { f(); });
      }
      if (mode && std::getenv("WEFT_DEBUG")) std::fputs(fast.report().c_str(), stderr);
    };
    {
      NoGrad guard;
      timed(n.name, work_of(n.c, n.dtype, false, k.run()), k.run);
    }
    if (!n.c.value("grad", false)) return;
    const Tensor cotangent = randn(k.run().sizes()).to(device, n.dtype);
    timed(n.name + "/grad", work_of(n.c, n.dtype, true, cotangent),
          [&] { return grad({k.run()}, k.inputs, {.grad_outputs = {cotangent}}); });
  };
  for (const Named& n : all) {
    if (device.is_cpu()) {
      time_case(n);
      continue;
    }
    try {  // what a device lacks or breaks is that case's result
      time_case(n);
    } catch (const Error& e) {
      ++failed;
      std::fprintf(stderr, "bench: %s: %s\n", n.name.c_str(), e.what());
    }
  }
  return failed;
}

int compare_threads(const json& cases, const KernelOptions& o,
                    const std::function<void(const std::string&, bool)>& done) {
  int differ = 0;
  for (const Named& n : chosen(cases, o)) {
    const std::vector<Tensor> one = results(n, 1), many = results(n, std::max(2, num_threads()));
    bool same = one.size() == many.size();
    for (size_t i = 0; i < one.size() && same; ++i) same = same_bits(one[i], many[i]);
    differ += !same;
    done(n.name, same);
  }
  return differ;
}

}  // namespace weft::bench
