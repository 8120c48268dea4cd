#pragma once
#include <optional>
#include <string>
#include <vector>

#include "core/dispatch.h"

// Indexing as PyTorch and numpy do it. The methods of Tensor are declared in core/tensor_methods.inc:
//   x.index({0, Slice(1, 3), None, Ellipsis, mask, indices});  x.index_put_({mask}, 0);
namespace weft {

/// A new dimension of size 1; also an open end of a Slice.
struct NoneIndex {
  operator std::optional<int64_t>() const { return std::nullopt; }
};
inline constexpr NoneIndex None{};
/// As many whole dimensions as are left.
struct EllipsisIndex {};
inline constexpr EllipsisIndex Ellipsis{};

/// start:stop:step of Python, step > 0: Slice() is `:`, Slice(None, 3) is `:3`.
struct Slice {
  std::optional<int64_t> start, stop;
  int64_t step;
  explicit Slice(std::optional<int64_t> start = {}, std::optional<int64_t> stop = {}, int64_t step = 1)
      : start(start), stop(stop), step(step) {}
};

/// One entry of an index. Index tensors hold i64, i32, i16 or i8 (negative counts from the end); bool and u8 tensors
/// are masks.
class TensorIndex {
 public:
  enum class Kind : uint8_t { none, ellipsis, integer, boolean, slice, tensor };
  TensorIndex(NoneIndex) : kind(Kind::none) {}
  TensorIndex(EllipsisIndex) : kind(Kind::ellipsis) {}
  TensorIndex(Slice s) : kind(Kind::slice), slice(s) {}
  TensorIndex(const Tensor& t) : kind(Kind::tensor), tensor(t) {}
  template <std::integral T>
  TensorIndex(T i) : kind(std::is_same_v<T, bool> ? Kind::boolean : Kind::integer), integer(static_cast<int64_t>(i)) {}

  Kind kind;
  int64_t integer = 0;
  Slice slice{};
  Tensor tensor;
};

// ---- functions. Errors: an index out of range (IndexError), an index of another dtype, shapes that do not match.

Tensor index_select(const Tensor& x, int64_t dim, const Tensor& index);
Tensor index_add(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& src, Scalar alpha = 1);
/// A copy of x with x[.., index[i], ..] = src[.., i, ..]; the last of equal indices wins.
Tensor index_copy(const Tensor& x, int64_t dim, const Tensor& index, const Tensor& src);
Tensor index_fill(const Tensor& x, int64_t dim, const Tensor& index, Scalar value);
/// Elements of x, seen as one dimension.
Tensor take(const Tensor& x, const Tensor& index);
/// Elements where the mask (broadcast with x) is true, one dimension.
Tensor masked_select(const Tensor& x, const Tensor& mask);
/// A copy of x whose elements under the mask are the first elements of src.
Tensor masked_scatter(const Tensor& x, const Tensor& mask, const Tensor& src);
/// Places of the non-zero elements: i64 [count, x.dim()], in row-major order.
Tensor nonzero(const Tensor& x);
/// torch.argwhere.
inline Tensor argwhere(const Tensor& x) { return nonzero(x); }

// ---- records. `linear` numbers the elements of the dimensions [first, first + count) of the indexed tensor in
// row-major order.
struct LinearIndexOp {  ///< index tensors (each covers one extent) -> one i64 tensor of their broadcast shape
  struct Attrs {
    Dims extents;
    bool wrap;  ///< negative indices count from the end
    const char* caller;
    int dim;  ///< of the first extent, for errors
  };
  static const OpRecord record;
};
struct IndexOp {  ///< (x, linear) -> x with those dimensions replaced by linear's
  struct Attrs {
    Dims input_sizes;
    int first, count;
  };
  static const OpRecord record;
};
struct IndexPutOp {  ///< (self, linear, values): values has the shape of IndexOp's result
  struct Attrs {
    int first, count;
    bool accumulate;
    Scalar alpha;  ///< of accumulate: self += alpha * values
  };
  static const OpRecord record;
};
struct NonzeroOp {  ///< x -> i64 [count] row-major numbers, `count` known beforehand
  static const OpRecord record;
};
struct CountElementsOp {  ///< x -> i64 []
  static const OpRecord record;
};

namespace detail {
/// x with dimensions [first, first + count) replaced by the elements that `linear` names.
Tensor index_linear(const Tensor& x, const Tensor& linear, int first, int count);
/// The reverse, in place; `values` broadcasts.
void index_put_linear(Tensor& self, const Tensor& linear, const Tensor& values, int first, int count, bool accumulate,
                      Scalar alpha = 1);
/// Checks index tensors against their extents. `dim`: of the first, for errors.
Tensor linear_index(const std::vector<Tensor>& indices, const Dims& extents, bool wrap, const char* caller, int dim);
/// Row-major numbers of the non-zero elements.
Tensor flat_nonzero(const Tensor& x);
}  // namespace detail

namespace cpu {
void linear_index(const OpCall& c);
void index(const OpCall& c);
void index_put(const OpCall& c);
void nonzero(const OpCall& c);
void count_nonzero_elements(const OpCall& c);
}  // namespace cpu
namespace rules {
void index(Node& n, const Tensor* g, Tensor* gin);
void index_put(Node& n, const Tensor* g, Tensor* gin);
}  // namespace rules

}  // namespace weft
