#include "nn/schema.h"

#include "core/error.h"
#include "core/registry.h"
#include "nn/clip.h"
#include "nn/init.h"

namespace weft::nn {
namespace {

template <class F>
Value filled(const Args& a, F&& fill) {
  Tensor t = a.tensor(0);
  return fill(t);
}
init::KaimingOptions kaiming(const Args& a) {
  const std::string& mode = a.text(2);
  WEFT_CHECK(mode == "fan_in" || mode == "fan_out", "{}: \"{}\" is neither \"fan_in\" nor \"fan_out\"", a.label(2),
             mode);
  return {a.real(1), mode == "fan_in" ? init::FanMode::fan_in : init::FanMode::fan_out, a.text(3)};
}

constexpr const char* kPacked = "packed_sequence";
Tensor optional(const Value& v) { return v.is_none() ? Tensor() : v.as_tensor(kPacked); }
Value optional(const Tensor& t) { return t.defined() ? Value(t) : Value(); }
std::vector<int64_t> lengths(const Args& a, size_t i) {
  if (!a.is_tensor(i)) return a.integers(i);
  const Tensor t = a.tensor(i).to(DeviceType::cpu, DType::i64).contiguous();
  return {t.data<int64_t>(), t.data<int64_t>() + t.numel()};
}

constexpr OpSchema kRows[] = {
    {"nn.init.uniform_", "tensor, a=0.0, b=1.0, generator=None",
     [](const Args& a) { return filled(a, [&](Tensor& t) { return init::uniform_(t, a.real(1), a.real(2)); }); }},
    {"nn.init.normal_", "tensor, mean=0.0, std=1.0, generator=None",
     [](const Args& a) { return filled(a, [&](Tensor& t) { return init::normal_(t, a.real(1), a.real(2)); }); }},
    {"nn.init.trunc_normal_", "tensor, mean=0.0, std=1.0, a=-2.0, b=2.0, generator=None",
     [](const Args& a) {
       return filled(a, [&](Tensor& t) { return init::trunc_normal_(t, a.real(1), a.real(2), a.real(3), a.real(4)); });
     }},
    {"nn.init.constant_", "tensor, val",
     [](const Args& a) { return filled(a, [&](Tensor& t) { return init::constant_(t, a.scalar(1)); }); }},
    {"nn.init.ones_", "tensor", [](const Args& a) { return filled(a, [](Tensor& t) { return init::ones_(t); }); }},
    {"nn.init.zeros_", "tensor", [](const Args& a) { return filled(a, [](Tensor& t) { return init::zeros_(t); }); }},
    {"nn.init.eye_", "tensor", [](const Args& a) { return filled(a, [](Tensor& t) { return init::eye_(t); }); }},
    {"nn.init.dirac_", "tensor, groups=1",
     [](const Args& a) { return filled(a, [&](Tensor& t) { return init::dirac_(t, a.integer(1)); }); }},
    {"nn.init.xavier_uniform_", "tensor, gain=1.0, generator=None",
     [](const Args& a) { return filled(a, [&](Tensor& t) { return init::xavier_uniform_(t, a.real(1)); }); }},
    {"nn.init.xavier_normal_", "tensor, gain=1.0, generator=None",
     [](const Args& a) { return filled(a, [&](Tensor& t) { return init::xavier_normal_(t, a.real(1)); }); }},
    {"nn.init.kaiming_uniform_", "tensor, a=0.0, mode='fan_in', nonlinearity='leaky_relu', generator=None",
     [](const Args& a) { return filled(a, [&](Tensor& t) { return init::kaiming_uniform_(t, kaiming(a)); }); }},
    {"nn.init.kaiming_normal_", "tensor, a=0.0, mode='fan_in', nonlinearity='leaky_relu', generator=None",
     [](const Args& a) { return filled(a, [&](Tensor& t) { return init::kaiming_normal_(t, kaiming(a)); }); }},
    {"nn.init.orthogonal_", "tensor, gain=1.0, generator=None",
     [](const Args& a) { return filled(a, [&](Tensor& t) { return init::orthogonal_(t, a.real(1)); }); }},
    {"nn.init.sparse_", "tensor, sparsity, std=0.01, generator=None",
     [](const Args& a) { return filled(a, [&](Tensor& t) { return init::sparse_(t, a.real(1), a.real(2)); }); }},
    {"nn.init.calculate_gain", "nonlinearity, param=None",
     [](const Args& a) -> Value {
       const double gain = init::calculate_gain(a.text(0), a.optional_real(1));
       return gain == 1 ? Value(1) : Value(gain);  // PyTorch's int
     }},
    {"nn.utils.get_total_norm", "tensors, norm_type=2.0, error_if_nonfinite=False",
     [](const Args& a) -> Value { return utils::get_total_norm(a.tensors(0), a.real(1), a.flag(2)); }},
    {"nn.utils.rnn.pad_sequence", "sequences, batch_first=False, padding_value=0.0, padding_side='right'",
     [](const Args& a) -> Value {
       return utils::rnn::pad_sequence(
           a.tensors(0), {.batch_first = a.flag(1), .padding_value = a.scalar(2), .padding_side = a.text(3)});
     }},
    {"nn.utils.rnn.pack_padded_sequence", "input, lengths, batch_first=False, enforce_sorted=True",
     [](const Args& a) -> Value {
       const PackedSequence p = utils::rnn::pack_padded_sequence(
           a.tensor(0), lengths(a, 1), {.batch_first = a.flag(2), .enforce_sorted = a.flag(3)});
       return Value::tuple({p.data, p.batch_sizes, optional(p.sorted_indices), optional(p.unsorted_indices)});
     }},
    {"nn.utils.rnn.pad_packed_sequence", "sequence, batch_first=False, padding_value=0.0, total_length=None",
     [](const Args& a) -> Value {
       const auto [x, ends] = utils::rnn::pad_packed_sequence(
           packed_of(a[0]),
           {.batch_first = a.flag(1), .padding_value = a.scalar(2), .total_length = a.optional_integer(3)});
       return Value::tuple({x, ends});
     }},
};

}  // namespace

PackedSequence packed_of(const Value& v) {
  const Value& p = v[kPacked];
  return {p["data"].as_tensor(kPacked), p["batch_sizes"].as_tensor(kPacked).to(DeviceType::cpu),
          optional(p["sorted_indices"]), optional(p["unsorted_indices"])};
}
Value value_of(const PackedSequence& p) {
  return {{kPacked,
           {{"data", p.data},
            {"batch_sizes", p.batch_sizes},
            {"sorted_indices", optional(p.sorted_indices)},
            {"unsorted_indices", optional(p.unsorted_indices)}}}};
}

void register_schemas() { add_op_schemas(kRows); }

}  // namespace weft::nn
