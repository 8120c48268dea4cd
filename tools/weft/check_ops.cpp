#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "autograd/autograd.h"
#include "core/device_backend.h"
#include "core/error.h"
#include "core/thread_state.h"
#include "tools/weft/check.h"

namespace weft::check {
namespace {

using json = nlohmann::ordered_json;

Outcome failed(std::string why) { return {Outcome::Kind::failed, std::move(why)}; }

std::string op_name(std::string call) {
  for (const char* prefix : {"torch.nn.functional.", "torch.", "Tensor.", "aten."})
    if (call.rfind(prefix, 0) == 0) return call.substr(std::string(prefix).size());
  return call;
}

// Decodes the arguments and computes under `key`, `then` (if any) with the result as part of it.
Value invoke(const char* key, Decoder& d, const json& c, const std::string& call, const json* more = nullptr,
             Tensor out = {}, const std::function<void(const Value&)>& then = {}) {
  std::vector<Value> args;
  for (const json& a : c.at("args")) args.push_back(d.value(a));
  std::vector<NamedValue> kwargs;
  auto add = [&](const json& from) {
    for (const auto& [name, v] : from.items()) kwargs.push_back({name, d.value(v)});
  };
  if (c.contains("kwargs")) add(c["kwargs"]);
  if (more && more->contains("kwargs")) add((*more)["kwargs"]);
  if (out.defined()) kwargs.push_back({"out", out});
  const std::string name = op_name(call);
  Value result;
  compute(key, [&] {
    if (name == "__setitem__") {
      weft::call(name, args, kwargs);
      result = args[0];
    } else {
      result = weft::call(name, std::move(args), std::move(kwargs));
    }
    if (then) then(result);
  });
  return result;
}

uint64_t device_launches() { return device().is_cuda() ? detail::cuda_backend()->launches() : 0; }

// What was computed from tensors on a device is there too, and was computed there.
std::string check_device(const Decoder& d, const Value& result, uint64_t launches_before) {
  if (device().is_cpu()) return {};
  const bool given =
      std::any_of(d.seen().begin(), d.seen().end(), [](const Tensor& t) { return t.device().is_cuda(); });
  std::vector<Tensor> results;
  flatten(result, results);
  for (const Tensor& t : results) {
    if (!t.defined()) continue;
    // Lengths and sizes that the host needs stay there.
    if (given && t.device().is_cpu() && is_floating(t.dtype())) return "the result is on the host";
    const bool shares =
        std::any_of(d.seen().begin(), d.seen().end(), [&](const Tensor& s) { return s.shares_storage_with(t); });
    if (t.device().is_cuda() && t.numel() > 0 && !shares && device_launches() == launches_before)
      return "a result on the device without a launch";
  }
  return {};
}

std::string check_views(const Decoder& d, const Value& got, const json& want) {
  if (want.is_array()) {
    for (size_t i = 0; i < want.size() && i < got.size(); ++i)
      if (std::string s = check_views(d, got.as_list()[i], want[i]); !s.empty()) return s;
    return {};
  }
  if (!want.is_object() || !want.contains("view") || !got.is_tensor()) return {};
  const json& v = want["view"];
  const Tensor& base = d.seen().at(v.at("of").get<size_t>());
  const Tensor& t = got.as_tensor();
  if (!t.shares_storage_with(base)) return "does not share the memory of argument " + v["of"].dump();
  if (t.strides() != Dims(v.at("stride").get<std::vector<int64_t>>()))
    return detail::format("strides {}, want ", {t.strides()}) + v["stride"].dump();
  if (t.numel() > 0 && t.storage_offset() != v.at("offset").get<int64_t>())
    return detail::format("offset {}, want {}", {t.storage_offset(), v["offset"].get<int64_t>()});
  return {};
}

std::string check_gradients(const CaseFile& file, const std::vector<Tensor>& got, const json& want, const json& c) {
  for (size_t i = 0; i < want.size(); ++i) {
    if (want[i].is_null()) {
      if (got[i].defined() && got[i].ne(0).any().item().truth())
        return "gradient " + std::to_string(i) + ": want none or zeros";
      continue;
    }
    if (!got[i].defined()) return "gradient " + std::to_string(i) + ": none";
    if (std::string s = compare(file, got[i], want[i], c.at("rtol").get<double>(), c.at("atol").get<double>());
        !s.empty())
      return "gradient " + std::to_string(i) + ": " + s;
  }
  return {};
}

// The first and second gradients of a case's results with respect to its leaves.
struct Gradients {
  std::vector<Tensor> cotangents, cotangents2;  // of results, of first gradients; undefined where the case has none
  std::vector<Tensor> first, second;
  std::string problem;

  Gradients(const CaseFile& file, const json& c) {
    Decoder decode(file, false);
    const auto read = [&](const char* key, std::vector<Tensor>& to) {
      if (!c.contains(key)) return;
      for (const json& r : c[key].at("cotangents")) to.push_back(r.is_null() ? Tensor() : decode.tensor(r));
    };
    read("grad", cotangents);
    read("grad2", cotangents2);
  }

  void compute(const Decoder& d, const Value& result, const json& c) {
    const auto pick = [](const std::vector<Tensor>& from, const std::vector<Tensor>& all, std::vector<Tensor>& outputs,
                         std::vector<Tensor>& given) {
      for (size_t i = 0; i < all.size() && i < from.size(); ++i) {
        if (!all[i].defined() || !from[i].defined() || !from[i].requires_grad()) continue;
        outputs.push_back(from[i]);
        given.push_back(all[i]);
      }
    };
    std::vector<Tensor> results, outputs, given;
    flatten(result, results);
    const bool twice = c.contains("grad2");
    pick(results, cotangents, outputs, given);
    if (outputs.empty()) {
      problem = "no result requires grad";
      return;
    }
    first = grad(outputs, d.leaves(), {.grad_outputs = given, .create_graph = twice, .allow_unused = true});
    if (!twice) return;
    outputs.clear();
    given.clear();
    pick(first, cotangents2, outputs, given);
    second.resize(d.leaves().size());
    if (!outputs.empty()) second = grad(outputs, d.leaves(), {.grad_outputs = given, .allow_unused = true});
    // A leaf that nothing depends on has a zero gradient.
    for (size_t i = 0; i < second.size(); ++i)
      if (!second[i].defined()) second[i] = zeros_like(d.leaves()[i]);
  }
};

std::string check_grad(const CaseFile& file, const Gradients& got, const json& c) {
  if (!got.problem.empty()) return got.problem;
  NoGrad guard;
  if (std::string s = check_gradients(file, got.first, c["grad"].at("inputs"), c["grad"]); !s.empty()) return s;
  if (!c.contains("grad2")) return {};
  std::string s = check_gradients(file, got.second, c["grad2"].at("inputs"), c["grad2"]);
  return s.empty() ? s : "second " + s;
}

std::string check_inplace(const CaseFile& file, const json& c, double rtol, double atol) {
  Decoder d(file, false);
  const json& in = c["inplace"];
  Value result = invoke("inplace", d, c, in.at("call"), &in);
  const Tensor& self = d.seen().at(0);
  if (!result.is_tensor() || !result.as_tensor().shares_storage_with(self))
    return "the result is not the first argument";
  Decoder again(file, false);
  Tensor original = again.tensor(c.at("args")[0]);
  if (original.sizes() == self.sizes() && original.strides() != self.strides() &&
      !find_op(op_name(in.at("call")).substr(0, op_name(in.at("call")).size() - 1))->view)
    return detail::format("strides {} became {}", {original.strides(), self.strides()});
  // self keeps its dtype: the result is compared converted to it (comparisons in place give 0 and 1).
  Decoder want(file, false);
  return compare_tensors(self, want.tensor(c.at("out")).to(self.dtype()), rtol, atol);
}

std::string check_out(const CaseFile& file, const json& c, const std::string& call, const Value& result, double rtol,
                      double atol) {
  if (!result.is_tensor()) return {};
  Decoder d(file, false);
  Tensor out = empty({0}, {.dtype = result.as_tensor().dtype(), .device = result.as_tensor().device()});
  invoke("out", d, c, call, nullptr, out);
  return compare(file, out, c.at("out"), rtol, atol);
}

// ---- statistics of random functions
std::string check_random(const Tensor& got, const json& want) {
  note_compared(got);
  NoGrad guard;
  DType t = DType::f32;
  parse_dtype(want.value("dtype", "float32"), t);
  if (got.dtype() != t) return detail::format("dtype {}, want {}", {got.dtype(), t});
  Dims shape(want.at("shape").get<std::vector<int64_t>>());
  if (got.sizes() != shape) return detail::format("shape {}, want {}", {got.sizes(), shape});
  Tensor flat = got.detach().cpu().to(DType::f64).contiguous();
  std::vector<double> x(flat.data<double>(), flat.data<double>() + flat.numel());
  const double n = static_cast<double>(x.size());
  double mean = 0, var = 0;
  for (double v : x) mean += v / n;
  for (double v : x) var += (v - mean) * (v - mean) / std::max(n - 1, 1.0);
  auto within = [&](const char* key, double v) {
    if (!want.contains(key)) return std::string();
    double low = number(want[key][0]), high = number(want[key][1]);
    if (v >= low && v <= high) return std::string();
    char text[120];
    std::snprintf(text, sizeof text, "%s is %.6g, want %.6g to %.6g", key, v, low, high);
    return std::string(text);
  };
  if (auto s = within("mean", mean); !s.empty()) return s;
  if (auto s = within("std", std::sqrt(var)); !s.empty()) return s;
  if (want.contains("median")) {
    std::vector<double> sorted = x;
    std::sort(sorted.begin(), sorted.end());
    if (auto s = within("median", sorted[sorted.size() / 2]); !s.empty()) return s;
  }
  if (want.contains("bounds")) {
    double low = number(want["bounds"][0]), high = number(want["bounds"][1]) + 1e-6;
    for (double v : x)
      if (!(v >= low && v <= high)) return "value " + std::to_string(v) + " out of bounds";
  }
  if (want.value("integers", false))
    for (double v : x)
      if (v != std::floor(v)) return "value " + std::to_string(v) + " is no integer";
  std::set<double> distinct(x.begin(), x.end());
  if (want.value("covers", false)) {
    double low = number(want["bounds"][0]), high = number(want["bounds"][1]);
    for (double v = low; v <= high; ++v)
      if (!distinct.count(v)) return "value " + std::to_string(v) + " never occurs";
  }
  if (want.value("permutation", false))
    for (size_t i = 0; i < x.size(); ++i)
      if (!distinct.count(static_cast<double>(i))) return "no permutation";
  if (want.value("permutation_rows", false)) {
    int64_t cols = got.dim() ? got.size(-1) : 1;
    for (size_t r = 0; r < x.size(); r += static_cast<size_t>(cols)) {
      std::set<double> row(x.begin() + static_cast<ptrdiff_t>(r), x.begin() + static_cast<ptrdiff_t>(r) + cols);
      if (row.size() != static_cast<size_t>(cols)) return "a value occurs twice in a row";
    }
  }
  if (want.contains("values")) {
    std::vector<double> allowed;
    for (const auto& v : want["values"]) allowed.push_back(number(v));
    for (double v : distinct)
      if (std::none_of(allowed.begin(), allowed.end(),
                       [v](double a) { return std::fabs(a - v) <= 1e-5 * std::max(1.0, std::fabs(a)); }))
        return "value " + std::to_string(v) + " is not allowed";
  }
  if (want.contains("zero_fraction")) {
    double zeros = static_cast<double>(std::count(x.begin(), x.end(), 0.0)) / n;
    if (auto s = within("zero_fraction", zeros); !s.empty()) return s;
  }
  if (want.contains("constant_over")) {
    Dims dims;
    for (const auto& d : want["constant_over"]) dims.push_back(d.get<int64_t>());
    if (!flat.amax({.dim = dims}).equal(flat.amin({.dim = dims}))) return "not constant over the given dims";
  }
  if (want.contains("sums")) {
    Tensor sums = flat.sum({.dim = want["sums"][0].get<int64_t>()});
    double value = number(want["sums"][1]);
    if (sums.sub(value).abs().amax().item<double>() > 1e-4) return "sums differ";
  }
  if (want.contains("orthonormal")) {
    Tensor q = flat.size(0) <= flat.size(1) ? flat : flat.t();
    Tensor product = q.matmul(q.t());
    if (product.sub(eye(q.size(0), {}, {.dtype = DType::f64})).abs().amax().item<double>() > 1e-4)
      return "not orthonormal";
  }
  return {};
}

}  // namespace

Outcome run_op_case(const CaseFile& file, const json& c) {
  const std::string call = c.contains("call") ? c["call"].get<std::string>() : file.head.at("call").get<std::string>();
  const std::string name = op_name(call);
  if (!find_op(name) && !(name.ends_with("_") && find_op(name.substr(0, name.size() - 1))))
    return {Outcome::Kind::missing, call};
  if (c.value("error", false)) {
    try {
      Decoder d(file);
      Value v = invoke("call", d, c, call);
      finish_device();
      return failed("no error; PyTorch says: " + c.value("torch_message", "") + "; got " + v.str(80));
    } catch (const InternalError& e) {
      return failed(e.what());
    } catch (const std::exception&) {
      return {};
    }
  }
  try {
    Decoder d(file);
    Gradients gradients(file, c);
    const uint64_t before = device_launches();
    Value result = invoke("call", d, c, call, nullptr, {}, [&](const Value& v) {
      if (c.contains("grad")) gradients.compute(d, v, c);
    });
    // The values of empty() are nobody's work.
    const bool writes = op_name(call).find("empty") == std::string::npos;
    if (std::string s = writes ? check_device(d, result, before) : ""; !s.empty()) return failed(s);
    if (c.contains("random")) {
      std::string s = check_random(result.as_tensor(), c["random"]);
      return s.empty() ? Outcome() : failed(s);
    }
    double rtol = c.at("rtol"), atol = c.at("atol");
    if (std::string s = compare(file, result, c.at("out"), rtol, atol); !s.empty()) return failed(s);
    if (std::string s = check_views(d, result, c["out"]); !s.empty()) return failed(s);
    if (c.contains("grad"))
      if (std::string s = check_grad(file, gradients, c); !s.empty()) return failed(s);
    if (c.contains("inplace"))
      if (std::string s = check_inplace(file, c, rtol, atol); !s.empty()) return failed("in place: " + s);
    if (c.value("out_variant", false))
      if (std::string s = check_out(file, c, call, result, rtol, atol); !s.empty()) return failed("out=: " + s);
  } catch (const std::exception& e) {
    return failed(std::string("error: ") + e.what());
  }
  return {};
}

}  // namespace weft::check
