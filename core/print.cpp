#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ostream>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/ops/index.h"
#include "core/tensor.h"
#include "core/thread_state.h"

// Printing as torch._tensor_str does with its default options.
namespace weft {
namespace {

constexpr int kPrecision = 4, kEdge = 3, kLine = 80;
constexpr int64_t kThreshold = 1000;

std::string number(const char* format, double v) {
  if (std::isnan(v)) return "nan";
  if (std::isinf(v)) return v < 0 ? "-inf" : "inf";
  char text[400];
  std::snprintf(text, sizeof text, format, kPrecision, v);
  return text;
}

// The values to show, contiguous, f64 or i64, with the middle of long dimensions left out.
class Printer {
 public:
  explicit Printer(const Tensor& t) : kind_(category(t.dtype())) {
    Tensor shown = t.detach();
    if (t.numel() > kThreshold) {
      for (int d = 0; d < t.dim(); ++d) {
        const int64_t n = t.sizes()[d];
        cut_[d] = n > 2 * kEdge;
        if (cut_[d])
          shown =
              shown.index_select(d, tensor(std::vector<int64_t>{0, 1, 2, n - 3, n - 2, n - 1}, {.device = t.device()}));
      }
    }
    values_ = shown.to(Device(), kind_ == 2 ? DType::f64 : DType::i64).contiguous();
    choose_format();
  }

  std::string text(int indent) const { return part(0, 0, indent); }

 private:
  double real(int64_t i) const { return detail::host_data<double>(values_)[i]; }
  int64_t integer(int64_t i) const { return detail::host_data<int64_t>(values_)[i]; }

  void choose_format() {
    const int64_t n = values_.numel();
    if (kind_ != 2) {
      for (int64_t i = 0; i < n; ++i) width_ = std::max(width_, value(i).size());
      return;
    }
    double low = INFINITY, high = 0;
    bool any = false;
    for (int64_t i = 0; i < n; ++i) {
      double v = std::fabs(real(i));
      if (!std::isfinite(v) || v == 0) continue;
      any = true;
      low = std::min(low, v);
      high = std::max(high, v);
      if (v != std::ceil(v)) whole_ = false;
    }
    if (!any) return;
    scientific_ = high / low > 1000 || high > 1e8 || (!whole_ && low < 1e-4);
    for (int64_t i = 0; i < n; ++i) {
      if (!std::isfinite(real(i)) || real(i) == 0) continue;
      std::string s = scientific_ ? number("%.*e", real(i))
                      : whole_    ? number("%.*f", real(i)).substr(0, number("%.*f", real(i)).find('.') + 1)
                                  : number("%.*f", real(i));
      width_ = std::max(width_, s.size());
    }
  }

  std::string value(int64_t i) const {
    if (kind_ == 0) return integer(i) ? "True" : "False";
    if (kind_ == 1) return std::to_string(integer(i));
    double v = real(i);
    std::string s = number(scientific_ ? "%.*e" : "%.*f", v);
    if (!scientific_ && whole_ && std::isfinite(v)) s.resize(s.find('.') + 1);
    return s;
  }
  std::string padded(int64_t i) const {
    std::string s = value(i);
    return s.size() < width_ ? std::string(width_ - s.size(), ' ') + s : s;
  }

  // The part of the values that begins at `first`, dimensions d and later.
  std::string part(int d, int64_t first, int indent) const {
    const int dims = values_.dim();
    if (d == dims) return padded(first);
    const int64_t n = values_.sizes()[d], step = values_.strides()[d];
    const std::string margin(static_cast<size_t>(indent) + 1, ' ');
    std::vector<std::string> items;
    for (int64_t i = 0; i < n; ++i) {
      if (cut_[d] && i == kEdge) items.push_back(d == dims - 1 ? " ..." : "...");
      items.push_back(part(d + 1, first + i * step, indent + 1));
    }
    std::string out = "[";
    if (d == dims - 1) {
      const size_t per_line = std::max<size_t>(1, static_cast<size_t>(std::max(0, kLine - indent)) / (width_ + 2));
      for (size_t i = 0; i < items.size(); ++i) {
        if (i > 0) out += i % per_line == 0 ? ",\n" + margin : ", ";
        out += items[i];
      }
    } else {
      const std::string between = "," + std::string(static_cast<size_t>(dims - d - 1), '\n') + margin;
      for (size_t i = 0; i < items.size(); ++i) out += i > 0 ? between + items[i] : items[i];
    }
    return out + "]";
  }

  int kind_;  // 0 bool, 1 integer, 2 float
  bool cut_[kMaxDims] = {};
  Tensor values_;
  bool whole_ = true, scientific_ = false;
  size_t width_ = 1;
};

// "reduce_sum" -> "ReduceSumBackward0"
std::string backward_name(const std::string& op) {
  std::string out;
  bool up = true;
  for (char c : op) {
    if (c != '_') out += up && c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
    up = c == '_';
  }
  return out + "Backward0";
}

}  // namespace

std::string Tensor::str() const {
  if (!defined()) return "tensor(undefined)";
  constexpr int kIndent = 7;
  std::vector<std::string> remarks;
  if (!device().is_cpu()) remarks.push_back("device='" + device().str() + "'");
  std::string text = "tensor(";
  if (numel() == 0) {
    if (dim() != 1) {
      std::string size = "size=(";
      for (int d = 0; d < dim(); ++d) size += (d > 0 ? ", " : "") + std::to_string(sizes()[d]);
      remarks.push_back(size + ")");
    }
    if (dtype() != default_dtype()) remarks.push_back("dtype=torch." + std::string(torch_name(dtype())));
    text += "[]";
  } else {
    if (dtype() != default_dtype() && dtype() != DType::i64 && dtype() != DType::bool_)
      remarks.push_back("dtype=torch." + std::string(torch_name(dtype())));
    NoGrad guard;
    text += Printer(*this).text(kIndent);
  }
  if (!is_leaf())
    remarks.push_back("grad_fn=<" + backward_name(grad_fn_name()) + ">");
  else if (requires_grad())
    remarks.push_back("requires_grad=True");
  const size_t break_at = text.rfind('\n');
  size_t line = break_at == std::string::npos ? text.size() + 2 : text.size() - break_at + 1;
  for (const std::string& r : remarks) {
    if (line + r.size() + 2 > kLine) {
      text += ",\n" + std::string(kIndent, ' ') + r;
      line = kIndent + r.size();
    } else {
      text += ", " + r;
      line += r.size() + 2;
    }
  }
  return text + ")";
}

std::ostream& operator<<(std::ostream& out, const Tensor& t) { return out << t.str(); }

}  // namespace weft
