#include "kernels/cuda/walk.cuh"

namespace weft::gpu {

Place place_of(const Tensor& x, int first, int count) {
  Place p{};
  p.dims = 0;
  for (int d = first; d < first + count; ++d) {
    const i64 size = x.sizes()[d], stride = x.strides()[d];
    if (size == 1) continue;
    if (p.dims > 0 && p.strides[p.dims - 1] == stride * size) {
      p.sizes[p.dims - 1] *= size;
      p.strides[p.dims - 1] = stride;
    } else {
      p.sizes[p.dims] = size;
      p.strides[p.dims++] = stride;
    }
  }
  if (p.dims == 0) {
    p.dims = 1;
    p.sizes[0] = 1;
    p.strides[0] = 0;
  }
  return p;
}

Tensor standing(const Tensor& x, int first, int count, const Dims& shape) {
  Dims sizes, strides;
  for (int d = 0; d < first; ++d) {
    sizes.push_back(x.sizes()[d]);
    strides.push_back(x.strides()[d]);
  }
  for (i64 s : shape) {
    sizes.push_back(s);
    strides.push_back(0);
  }
  for (int d = first + count; d < x.dim(); ++d) {
    sizes.push_back(x.sizes()[d]);
    strides.push_back(x.strides()[d]);
  }
  return detail::alias(x, sizes, strides, x.storage_offset());
}

Tensor spread(const Tensor& index, const Dims& whole, int before) {
  Dims strides = Dims::filled(whole.size(), 0);
  for (int d = 0; d < index.dim(); ++d) strides[before + d] = index.strides()[d];
  return detail::alias(index, whole, strides, index.storage_offset());
}

bool pack16(LoopNest& nest, Place& place, unsigned moved) {
  const int last = nest.dims - 1;
  i64 count = 1;
  for (int k = 0; k < nest.count; ++k) {
    const LoopOperand& o = nest.operands[k];
    if (!(moved >> k & 1)) {
      if (o.strides[last] != 0) return false;
      continue;
    }
    count = 16 / i64(itemsize(o.dtype));
    if (o.strides[last] != 1 || !aligned16(o.data) || nest.sizes[last] % count != 0) return false;
    for (int d = 0; d < last; ++d)
      if (o.strides[d] % count != 0) return false;
  }
  for (int d = 0; d < place.dims; ++d)
    if (place.strides[d] % count != 0) return false;
  for (int k = 0; k < nest.count; ++k)
    if (moved >> k & 1)
      for (int d = 0; d < last; ++d) nest.operands[k].strides[d] /= count;
  for (int d = 0; d < place.dims; ++d) place.strides[d] /= count;
  nest.sizes[last] /= count;
  nest.numel /= count;
  return true;
}

}  // namespace weft::gpu
