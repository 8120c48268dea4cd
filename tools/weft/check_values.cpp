#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "core/cuda.h"
#include "core/error.h"
#include "core/thread_state.h"
#include "tools/weft/check.h"

namespace weft::check {

TensorFile::TensorFile(const std::string& path) {
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  WEFT_CHECK_FILE(fd >= 0, "{}: cannot be opened: {}", path, std::strerror(errno));
  struct stat st;
  fstat(fd, &st);
  bytes_ = static_cast<size_t>(st.st_size);
  map_ = bytes_ >= 8 ? mmap(nullptr, bytes_, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
  close(fd);
  WEFT_CHECK_FILE(map_ != MAP_FAILED, "{}: cannot be mapped", path);
  uint64_t n = 0;
  std::memcpy(&n, map_, 8);
  WEFT_CHECK_FILE(n <= bytes_ - 8, "{}: the header is longer than the file", path);
  const char* text = static_cast<const char*>(map_) + 8;
  header_ = nlohmann::ordered_json::parse(text, text + n);
  data_ = text + n;
  data_bytes_ = bytes_ - 8 - n;
}
TensorFile::~TensorFile() {
  if (map_ && map_ != MAP_FAILED) munmap(map_, bytes_);
}

Tensor TensorFile::load(const std::string& name) const {
  const nlohmann::ordered_json& e = header_.at(name);
  static const std::map<std::string, DType> dtypes = {
      {"F32", DType::f32}, {"F64", DType::f64}, {"BF16", DType::bf16}, {"F16", DType::f16}, {"I8", DType::i8},
      {"U8", DType::u8},   {"I16", DType::i16}, {"I32", DType::i32},   {"I64", DType::i64}, {"BOOL", DType::bool_}};
  auto t = dtypes.find(e.at("dtype").get<std::string>());
  WEFT_CHECK_TYPE(t != dtypes.end(), "tensor {}: dtype {} is not supported", name, e.at("dtype").get<std::string>());
  Tensor out = empty(Dims(e.at("shape").get<std::vector<int64_t>>()), {.dtype = t->second});
  size_t begin = e.at("data_offsets")[0], end = e.at("data_offsets")[1];
  WEFT_CHECK_FILE(begin <= end && end <= data_bytes_ && end - begin == out.nbytes(), "tensor {}: damaged", name);
  if (end > begin) std::memcpy(out.data_ptr(), data_ + begin, end - begin);
  return out;
}

Device& device() {
  static Device d;
  return d;
}
void finish_device() {
  if (device().is_cuda()) cuda::synchronize(device().index);
}

double number(const nlohmann::ordered_json& j) {
  if (j.is_object() && j.contains("float")) {
    const std::string s = j["float"];
    if (s == "nan") return std::numeric_limits<double>::quiet_NaN();
    return s == "inf" ? std::numeric_limits<double>::infinity() : -std::numeric_limits<double>::infinity();
  }
  return j.get<double>();
}

Tensor Decoder::tensor(const nlohmann::ordered_json& r) {
  WEFT_CHECK_TYPE(!r.contains("complex"), "complex tensors are not supported");
  Tensor t = file_.tensors->load(r.at("tensor")).to(device());
  if (r.contains("shape"))
    t = t.as_strided(Dims(r["shape"].get<std::vector<int64_t>>()), Dims(r["stride"].get<std::vector<int64_t>>()),
                     r.value("offset", int64_t{0}))
            .detach();
  if (r.value("requires_grad", false)) {
    if (with_grad_) t.set_requires_grad(true);
    leaves_.push_back(t);
  }
  seen_.push_back(t);
  return t;
}

Value Decoder::value(const nlohmann::ordered_json& j) {
  if (j.is_null()) return Value();
  if (j.is_boolean()) return Value(j.get<bool>());
  if (j.is_number_integer()) return Value(j.get<int64_t>());
  if (j.is_number()) return Value(j.get<double>());
  if (j.is_string()) return Value(j == "cpu" ? device().str() : j.get<std::string>());
  if (j.is_array()) {
    Value::List items;
    for (const auto& x : j) items.push_back(value(x));
    return Value::list(std::move(items));
  }
  if (j.contains("tensor")) return tensor(j);
  if (j.contains("float")) return Value(number(j));
  if (j.contains("full")) {
    const auto& f = j["full"];
    DType t = DType::f32;
    parse_dtype(f.at("dtype").get<std::string>(), t);
    Tensor x = full(Dims(f.at("shape").get<std::vector<int64_t>>()),
                    f["value"].is_number_integer() ? Scalar(f["value"].get<int64_t>()) : Scalar(number(f["value"])),
                    {.dtype = t, .device = device()});
    seen_.push_back(x);
    return x;
  }
  if (j.contains("dtype")) {
    DType t;
    const std::string name = j["dtype"];
    WEFT_CHECK_TYPE(parse_dtype(name, t), "dtype {} is not supported", name);
    return Value(t);
  }
  if (j.contains("device")) return Value(device());
  if (j.contains("memory_format")) return Value(j["memory_format"].get<std::string>());
  if (j.contains("layout")) return Value();
  if (j.contains("index")) return value(j["index"]);
  if (j.contains("function")) return Value(j["function"].get<std::string>());
  Value::Dict d;
  for (const auto& [key, x] : (j.contains("dict") ? j["dict"] : j).items()) d.set(key, value(x));
  return Value(std::move(d));
}

// A PackedSequence: a dict of its parts under this key.
constexpr const char* kPacked = "packed_sequence";

void flatten(const Value& v, std::vector<Tensor>& out) {
  if (v.is_tensor())
    out.push_back(v.as_tensor());
  else if (v.is_list())
    for (const Value& x : v.as_list()) flatten(x, out);
  else if (v.is_dict() && v.contains(kPacked))
    flatten(v[kPacked]["data"], out);
}

std::string compare_tensors(const Tensor& got, const Tensor& want, double rtol, double atol, bool absolute) {
  if (!got.defined()) return "no tensor";
  note_compared(got);
  if (got.dtype() != want.dtype()) return detail::format("dtype {}, want {}", {got.dtype(), want.dtype()});
  if (got.sizes() != want.sizes()) return detail::format("shape {}, want {}", {got.sizes(), want.sizes()});
  NoGrad guard;
  if (!is_floating(got.dtype())) {
    Tensor a = got.detach().cpu().to(DType::i64).contiguous(), b = want.cpu().to(DType::i64).contiguous();
    for (int64_t i = 0; i < a.numel(); ++i)
      if (a.data<int64_t>()[i] != b.data<int64_t>()[i])
        return detail::format("[{}] is {}, want {}", {i, a.data<int64_t>()[i], b.data<int64_t>()[i]});
    return {};
  }
  Tensor a = got.detach().cpu().to(DType::f64).contiguous(), b = want.cpu().to(DType::f64).contiguous();
  const double *x = a.data<double>(), *y = b.data<double>();
  for (int64_t i = 0; i < a.numel(); ++i) {
    double g = absolute ? std::fabs(x[i]) : x[i], w = absolute ? std::fabs(y[i]) : y[i];
    if (std::isnan(g) && std::isnan(w)) continue;
    if (std::isinf(w) || std::isinf(g) ? g == w : std::fabs(g - w) <= atol + rtol * std::fabs(w)) continue;
    char text[160];
    std::snprintf(text, sizeof text, "[%lld] is %.9g, want %.9g (off by %.2g, rtol %.2g atol %.2g)",
                  static_cast<long long>(i), g, w, std::fabs(g - w), rtol, atol);
    return text;
  }
  return {};
}

std::string compare(const CaseFile& file, const Value& got, const nlohmann::ordered_json& want, double rtol,
                    double atol) {
  if (want.is_null()) return got.is_none() ? "" : "want None";
  if (want.is_array()) {
    if (!got.is_list() || got.size() != want.size()) return "want a list of " + std::to_string(want.size());
    for (size_t i = 0; i < want.size(); ++i)
      if (std::string s = compare(file, got.as_list()[i], want[i], rtol, atol); !s.empty())
        return "result " + std::to_string(i) + ": " + s;
    return {};
  }
  if (want.is_object() && want.contains("tensor")) {
    Decoder d(file, false);
    Tensor t = d.tensor(want);
    const std::string kind = want.value("check", "");
    if (!got.is_tensor()) return "want a tensor, got " + got.str(60);
    if (kind == "shape") {
      if (got.as_tensor().sizes() != t.sizes())
        return detail::format("shape {}, want {}", {got.as_tensor().sizes(), t.sizes()});
      return got.as_tensor().dtype() == t.dtype()
                 ? ""
                 : detail::format("dtype {}, want {}", {got.as_tensor().dtype(), t.dtype()});
    }
    return compare_tensors(got.as_tensor(), t, rtol, atol, kind == "abs");
  }
  if (want.is_object() && want.contains(kPacked)) {
    if (!got.contains(kPacked)) return "want a packed sequence, got " + got.str(60);
    for (const auto& [name, part] : want[kPacked].items())
      if (std::string s = compare(file, got[kPacked][name], part, rtol, atol); !s.empty()) return name + ": " + s;
    return {};
  }
  Decoder d(file, false);
  Value w = d.value(want);
  if (w.is_double() && got.is_scalar()) {
    double a = got.as_double(), b = w.as_double();
    bool ok = (std::isnan(a) && std::isnan(b)) ||
              (std::isinf(a) || std::isinf(b) ? a == b
                                              : std::fabs(a - b) <= atol + rtol * std::fabs(b) + 1e-12 * std::fabs(b));
    return ok ? "" : "is " + got.str(60) + ", want " + w.str(60);
  }
  return got == w ? "" : "is " + got.str(60) + ", want " + w.str(60);
}

}  // namespace weft::check
