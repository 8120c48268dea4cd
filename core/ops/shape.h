#pragma once
#include <string_view>
#include <vector>

#include "core/dispatch.h"

// Copies that put elements elsewhere. Methods of Tensor are declared in core/tensor_methods.inc.
namespace weft {

/// Joins along an existing dimension; the other sizes must agree, dtypes are promoted. Empty 1-dim tensors are skipped.
Tensor cat(const std::vector<Tensor>& tensors, int64_t dim = 0);
/// Joins along a new dimension; all shapes must be equal.
Tensor stack(const std::vector<Tensor>& tensors, int64_t dim = 0);
Tensor hstack(const std::vector<Tensor>& tensors);
Tensor vstack(const std::vector<Tensor>& tensors);
Tensor dstack(const std::vector<Tensor>& tensors);

Tensor repeat(const Tensor& x, const Dims& repeats);
Tensor tile(const Tensor& x, const Dims& repeats);
/// Every element (of dim, else of the flattened x) `repeats` times in a row.
Tensor repeat_interleave(const Tensor& x, int64_t repeats, std::optional<int64_t> dim = {});
Tensor repeat_interleave(const Tensor& x, const Tensor& repeats, std::optional<int64_t> dim = {});
Tensor flip(const Tensor& x, const Dims& dims);
/// Elements pushed past the end come back in front; without dims: of the flattened x.
Tensor roll(const Tensor& x, const Dims& shifts, const Dims& dims = {});
/// The last two dimensions below (above) a diagonal, 0 elsewhere.
Tensor tril(const Tensor& x, int64_t diagonal = 0);
Tensor triu(const Tensor& x, int64_t diagonal = 0);
/// A matrix with x [n] on a diagonal, or that diagonal of a matrix.
Tensor diag(const Tensor& x, int64_t diagonal = 0);
Tensor diag_embed(const Tensor& x, int64_t offset = 0, int64_t dim1 = -2, int64_t dim2 = -1);
/// indexing: "ij" or "xy".
std::vector<Tensor> meshgrid(const std::vector<Tensor>& tensors, std::string_view indexing = "ij");

/// torch.nn.functional.pad: `pad` holds (before, after) of the last dimension, then of the one before it, ...; negative
/// crops. mode: "constant" (any dimensions), "reflect", "replicate", "circular" (the last 1 to 3 of 2 to 5 dimensions).
Tensor pad(const Tensor& x, const std::vector<int64_t>& pad, std::string_view mode = "constant", Scalar value = 0.0);
/// The first half of dim times the sigmoid of the second (torch.nn.functional.glu).
Tensor glu(const Tensor& x, int64_t dim = -1);
/// i64 [..., classes] with a 1 at each index of x (i64 >= 0); -1: as many classes as x names.
Tensor one_hot(const Tensor& x, int64_t classes = -1);

// ---- records
struct CatOp {
  struct alignas(int64_t) Attrs {  ///< followed by the length of each input along dim (0: it is skipped)
    int dim;
    const int64_t* lengths() const { return reinterpret_cast<const int64_t*>(this + 1); }
  };
  static const OpRecord record;
};
struct FlipOp {
  struct Attrs {
    Dims dims;
  };
  static const OpRecord record;
};
struct TriangleOp {
  struct Attrs {
    int64_t diagonal;
    bool upper;
  };
  static const OpRecord record;
};

namespace cpu {
void cat(const OpCall& c);
void flip(const OpCall& c);
void triangle(const OpCall& c);
}  // namespace cpu
namespace rules {
void cat(Node& n, const Tensor* g, Tensor* gin);
void flip(Node& n, const Tensor* g, Tensor* gin);
void triangle(Node& n, const Tensor* g, Tensor* gin);
}  // namespace rules

}  // namespace weft
