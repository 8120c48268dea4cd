#pragma once
#include "core/dispatch.h"

// Views: tensors over the same memory with other sizes and strides. The methods are declared in
// core/tensor_methods.inc; the free functions below mirror PyTorch's.
namespace weft {

/// Sizes with one -1 inferred; weft::Error unless the number of elements is right.
Dims infer_size(const Dims& sizes, int64_t numel, const char* op);

Tensor reshape(const Tensor& x, const Dims& sizes);
Tensor permute(const Tensor& x, const Dims& dims);
Tensor transpose(const Tensor& x, int64_t a, int64_t b);
Tensor t(const Tensor& x);
Tensor squeeze(const Tensor& x);
Tensor squeeze(const Tensor& x, const DimList& dims);
Tensor unsqueeze(const Tensor& x, int64_t dim);
Tensor flatten(const Tensor& x, int64_t start = 0, int64_t end = -1);
Tensor narrow(const Tensor& x, int64_t dim, int64_t start, int64_t length);
Tensor select(const Tensor& x, int64_t dim, int64_t index);
Tensor diagonal(const Tensor& x, int64_t offset = 0, int64_t dim1 = 0, int64_t dim2 = 1);
Tensor movedim(const Tensor& x, const Dims& from, const Dims& to);
Tensor broadcast_to(const Tensor& x, const Dims& sizes);
std::vector<Tensor> broadcast_tensors(const std::vector<Tensor>& tensors);
std::vector<Tensor> split(const Tensor& x, int64_t size, int64_t dim = 0);
std::vector<Tensor> split(const Tensor& x, const std::vector<int64_t>& sizes, int64_t dim = 0);
std::vector<Tensor> chunk(const Tensor& x, int64_t chunks, int64_t dim = 0);
std::vector<Tensor> unbind(const Tensor& x, int64_t dim = 0);

// ---- records
struct ViewOp {  ///< same elements in the same order: view, squeeze, unsqueeze, flatten
  static const OpRecord record;
  struct Attrs {
    Dims input_sizes;
  };
};
struct ExpandOp {
  static const OpRecord record;
};
struct PermuteOp {
  static const OpRecord record;
  struct Attrs {
    Dims dims;
  };
};
struct SliceOp {  ///< select, slice, narrow: elements start + i * step of one dimension
  static const OpRecord record;
  struct Attrs {
    Dims input_sizes;
    int dim;
    int64_t start, step, length;
    bool drop;  ///< select: the dimension is gone
  };
};
struct SplitOp {  ///< split, chunk, unbind: all of a dimension, part by part, as views with one history
  static const OpRecord record;
  struct Attrs {
    int dim;
    bool drop;  ///< unbind: the dimension is gone
  };
};
struct DiagonalOp {
  static const OpRecord record;
  struct Attrs {
    Dims input_sizes;
    int64_t offset;
    int dim1, dim2;
  };
};
struct AsStridedOp {
  static const OpRecord record;
  struct Attrs {
    Dims input_sizes, input_strides;
    int64_t input_offset;
    Dims sizes, strides;
    int64_t offset;
  };
};
struct UnfoldOp {
  static const OpRecord record;
  struct Attrs {
    Dims input_sizes;
    int dim;
    int64_t size, step;
  };
};

namespace rules {
void view(Node& n, const Tensor* g, Tensor* gin);
void expand(Node& n, const Tensor* g, Tensor* gin);
void permute(Node& n, const Tensor* g, Tensor* gin);
void slice(Node& n, const Tensor* g, Tensor* gin);
void split(Node& n, const Tensor* g, Tensor* gin);
void diagonal(Node& n, const Tensor* g, Tensor* gin);
void as_strided(Node& n, const Tensor* g, Tensor* gin);
void unfold(Node& n, const Tensor* g, Tensor* gin);
}  // namespace rules

}  // namespace weft
