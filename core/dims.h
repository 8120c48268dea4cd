#pragma once
#include <cstdint>
#include <initializer_list>
#include <span>
#include <vector>

namespace weft {

/// Tensors have at most this many dimensions; sizes and strides live inline.
inline constexpr int kMaxDims = 8;

namespace detail {
[[noreturn]] void fail_too_many_dims(size_t n);
}

/// A short list of integers (sizes, strides, dims) with value semantics and no heap. At most kMaxDims entries
/// (weft::Error beyond).
class Dims {
 public:
  constexpr Dims() = default;
  Dims(std::initializer_list<int64_t> v) { assign(v.begin(), v.size()); }
  Dims(std::span<const int64_t> v) { assign(v.data(), v.size()); }
  Dims(const std::vector<int64_t>& v) { assign(v.data(), v.size()); }
  Dims(const int64_t* v, size_t n) { assign(v, n); }
  static Dims filled(int n, int64_t value) {
    Dims d;
    d.resize(n, value);
    return d;
  }

  int size() const { return n_; }
  bool empty() const { return n_ == 0; }
  int64_t operator[](int i) const { return v_[i]; }
  int64_t& operator[](int i) { return v_[i]; }
  const int64_t* begin() const { return v_; }
  const int64_t* end() const { return v_ + n_; }
  int64_t* begin() { return v_; }
  int64_t* end() { return v_ + n_; }
  const int64_t* data() const { return v_; }
  int64_t* data() { return v_; }
  int64_t back() const { return v_[n_ - 1]; }
  int64_t& back() { return v_[n_ - 1]; }

  void push_back(int64_t x) {
    if (n_ == kMaxDims) detail::fail_too_many_dims(n_ + 1);
    v_[n_++] = x;
  }
  void pop_back() { --n_; }
  void insert(int at, int64_t x) {
    push_back(0);
    for (int i = n_ - 1; i > at; --i) v_[i] = v_[i - 1];
    v_[at] = x;
  }
  void erase(int at) {
    for (int i = at; i + 1 < n_; ++i) v_[i] = v_[i + 1];
    --n_;
  }
  void resize(int n, int64_t fill = 0) {
    if (n > kMaxDims) detail::fail_too_many_dims(n);
    for (int i = n_; i < n; ++i) v_[i] = fill;
    n_ = n;
  }
  bool contains(int64_t x) const {
    for (int i = 0; i < n_; ++i)
      if (v_[i] == x) return true;
    return false;
  }
  operator std::span<const int64_t>() const { return {v_, static_cast<size_t>(n_)}; }
  std::vector<int64_t> vec() const { return {begin(), end()}; }

  friend bool operator==(const Dims& a, const Dims& b) {
    if (a.n_ != b.n_) return false;
    for (int i = 0; i < a.n_; ++i)
      if (a.v_[i] != b.v_[i]) return false;
    return true;
  }

 private:
  void assign(const int64_t* v, size_t n) {
    if (n > kMaxDims) detail::fail_too_many_dims(n);
    n_ = static_cast<int>(n);
    for (int i = 0; i < n_; ++i) v_[i] = v[i];
  }
  int64_t v_[kMaxDims] = {};
  int n_ = 0;
};

/// Product of the sizes; weft::Error when it does not fit into 63 bits or a size is negative. `op` names the caller in
/// the text.
int64_t checked_numel(const Dims& sizes, const char* op);
/// Row-major strides.
Dims contiguous_strides(const Dims& sizes);
/// Strides of memory_format channels_last (NHWC) and channels_last_3d for 4 and 5 dimensions.
Dims channels_last_strides(const Dims& sizes);
/// PyTorch's dimension wrap: -n..n-1 (n = 0 counts as 1); weft::Error (index) otherwise.
int wrap_dim(int64_t dim, int64_t n, const char* op);
/// The broadcast shape of two shapes; weft::Error naming both otherwise.
Dims broadcast_shapes(const Dims& a, const Dims& b, const char* op);

}  // namespace weft
