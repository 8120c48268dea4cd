#include "kernels/cuda/custom_op.h"

#include <algorithm>

#include "kernels/cuda/walk.cuh"

// Own ops have no device text for a host compiler to see; their loops for the host are of the same text. One element of
// a thread at a time, so that a launch is one like any other.
namespace weft::gpu {
namespace {

struct CustomArguments {
  LoopFn loop;
  Walk<kMaxOperands> walk;
  LoopOperand operands[kMaxOperands];
  int inputs;
  bool truth, writes_bool;
  Scalar params[kMaxParams];
};

template <class T>
void custom_kernel(const CustomArguments a) {
  WEFT_FOR_EACH(e, i64(a.walk.n)) {
    i64 offsets[kMaxOperands];
    a.walk.offsets(u32(e), offsets);
    T x[kMaxOperands - 1];
    const void* in[kMaxOperands - 1];
    for (int i = 0; i < a.inputs; ++i) {
      const LoopOperand& o = a.operands[i + 1];
      in[i] = &x[i];
      if (o.data == nullptr)
        x[i] = a.truth ? T(o.number != 0) : std::is_same_v<T, i64> ? T(o.integer) : T(o.number);
      else if (a.truth)
        x[i] = T(load_as<Bool>(o.data, offsets[i + 1], o.dtype).v);
      else
        x[i] = load_as<T>(o.data, offsets[i + 1], o.dtype);
    }
    T y{};
    Bool truth{};
    a.loop(a.writes_bool ? static_cast<void*>(&truth) : &y, in, a.params, 1);
    if (a.writes_bool)
      store_as(a.operands[0].data, offsets[0], a.operands[0].dtype, truth);
    else
      store_as(a.operands[0].data, offsets[0], a.operands[0].dtype, y);
  }
}

}  // namespace

void run_custom(const detail::PointwiseCall& c, const CustomOpSource&) {
  if (c.out.numel() == 0) return;
  constexpr int kAll[kMaxOperands - 1] = {0, 1, 2, 3, 4};
  const auto kernel = c.compute == DType::f32   ? custom_kernel<float>
                      : c.compute == DType::f64 ? custom_kernel<double>
                                                : custom_kernel<i64>;
  const LoopFn loop = c.compute == DType::f32 ? c.loops.f32 : c.compute == DType::f64 ? c.loops.f64 : c.loops.i64;
  WEFT_ASSERT(loop != nullptr && c.n_in < kMaxOperands, "{}: no loop for {}", c.op.name, c.compute);
  in_parts(make_nest(c.out, c.in, kAll, c.n_in), [&](const LoopNest& nest) {
    CustomArguments a{loop, Walk<kMaxOperands>(nest), {}, c.n_in, c.truth, c.loops.writes_bool, {}};
    std::copy_n(nest.operands, kMaxOperands, a.operands);
    std::copy_n(c.params, c.op.params, a.params);
    launch(kernel, grid_for(nest.numel), kThreads, 0, current_stream(), a);
  });
}

}  // namespace weft::gpu
