// The pooling ops: from tensors to the plain descriptions of pool.h.
#include "core/ops/pool.h"

#include "core/ops/copy.h"
#include "kernels/cpu/pool.h"

namespace weft::cpu {
namespace {

void set_strides(const Tensor& t, int64_t* strides) {
  strides[0] = t.strides()[0], strides[1] = t.strides()[1];
  for (int d = 2; d < t.dim(); ++d) strides[d + 5 - t.dim()] = t.strides()[d];
}

// The pool from x to y, whichever is given.
Pool describe(const PoolAttrs& a, const Tensor& x, const Tensor& y) {
  Pool p;
  p.dtype = x.dtype();
  p.batch = x.sizes()[0], p.channels = x.sizes()[1];
  p.count_include_pad = a.count_include_pad, p.divisor_override = a.divisor_override;
  for (int d = 0; d < 3; ++d)
    p.axis[d] = a.adaptive
                    ? adaptive_axis(a.in_size[d], a.out_size[d])
                    : pool_axis(a.in_size[d], a.out_size[d], a.kernel[d], a.stride[d], a.padding[d], a.dilation[d]);
  set_strides(x, p.x_strides);
  set_strides(y, p.y_strides);
  return p;
}

// The kernels walk values and indices together.
Tensor laid_out_as(const Tensor& t, const Tensor& like) {
  if (t.strides() == like.strides()) return t;
  Tensor same = weft::detail::allocate(like.sizes(), like.strides(), t.dtype(), t.device());
  Tensor out[1] = {same};
  const Tensor in[1] = {t};
  const NoAttrs none;
  copy({MaxPoolOp::record, in, 1, out, 1, &none});
  return same;
}

}  // namespace

void max_pool(const OpCall& c) {
  max_pool_forward(describe(c.as<PoolAttrs>(), c.in[0], c.out[0]), c.in[0].data_ptr(), c.out[0].data_ptr(),
                   c.out[1].data<int64_t>());
}
void max_pool_backward(const OpCall& c) {
  const Tensor& index = c.in[1];
  const Tensor dy = laid_out_as(c.in[0], index);
  max_pool_backward(describe(c.as<PoolAttrs>(), c.out[0], index), dy.data_ptr(), index.data<int64_t>(),
                    c.out[0].data_ptr());
}
void max_pool_gather(const OpCall& c) {
  const Tensor index = laid_out_as(c.in[1], c.out[0]);
  max_pool_gather(describe(c.as<PoolAttrs>(), c.in[0], c.out[0]), c.in[0].data_ptr(), index.data<int64_t>(),
                  c.out[0].data_ptr());
}
void avg_pool(const OpCall& c) {
  avg_pool_forward(describe(c.as<PoolAttrs>(), c.in[0], c.out[0]), c.in[0].data_ptr(), c.out[0].data_ptr());
}
void avg_pool_backward(const OpCall& c) {
  avg_pool_backward(describe(c.as<PoolAttrs>(), c.out[0], c.in[0]), c.in[0].data_ptr(), c.out[0].data_ptr());
}

}  // namespace weft::cpu
