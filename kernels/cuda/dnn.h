#pragma once

#include <cstdint>
#include <string>

#include "core/dtype.h"
#include "kernels/cuda/runtime.h"

// Convolution and attention as plain descriptions. The library (cuDNN, or its stand-in of the emulation) takes some of
// them; the project's own kernels take all.
namespace weft::gpu::dnn {

/// y = convolution of x with w. Spatial arrays are (depth, height, width); a missing dimension has size, kernel,
/// stride and dilation 1 and padding 0. Strides in elements: batch (of w: output channel), channel, depth, height,
/// width. x [batch, cin, ...], w [cout, cin / groups, ...], y [batch, cout, ...].
struct ConvolutionCall {
  enum class Kind : int32_t {
    forward,          ///< writes y = conv(x, w) + bias [cout]
    data_gradient,    ///< writes x = what y pulls back through w, + bias [cin]: a transposed convolution
    weight_gradient,  ///< writes w from x and y, and bias [cout] = sum of y over batch and space
  };
  Kind kind = Kind::forward;
  DType dtype = DType::f32;
  bool deterministic = false;
  bool tf32 = false;  ///< f32 may be multiplied in TF32
  int32_t space = 3;  ///< spatial dimensions that count: 2 (of a picture or a line) or 3
  int64_t batch = 1, groups = 1, cin = 1, cout = 1;
  int64_t x_size[3] = {1, 1, 1}, y_size[3] = {1, 1, 1}, kernel[3] = {1, 1, 1};
  int64_t stride[3] = {1, 1, 1}, padding[3] = {0, 0, 0}, dilation[3] = {1, 1, 1};
  int64_t x_strides[5] = {}, w_strides[5] = {}, y_strides[5] = {};
  void *x = nullptr, *w = nullptr, *y = nullptr;
  void* bias = nullptr;  ///< contiguous, or null: none
};

/// [batch, heads, time, width] by strides in elements.
struct AttentionOperand {
  void* data = nullptr;
  int64_t strides[4] = {};
};

/// o = softmax(scale q k^T + mask) v, or (backward) the gradients of q, k and v from that of o.
/// q and o have `heads` heads, k and v `kv_heads`: head h reads head h / (heads / kv_heads).
struct AttentionCall {
  bool backward = false;
  bool causal = false;  ///< row i sees the keys j <= i
  bool bool_mask = false;
  bool deterministic = false;
  DType dtype = DType::f32;
  int64_t batch = 0, heads = 0, kv_heads = 0, tq = 0, tk = 0, d = 0, dv = 0;
  double scale = 1;
  AttentionOperand q, k, v, o, grad_o, grad_q, grad_k, grad_v;
  void* stats = nullptr;       ///< [batch, heads, tq] contiguous: log-sum-exp of the scores; f64 for f64, else f32
  const void* mask = nullptr;  ///< added (of `dtype`), or bool, where false hides the key; null: none
  int64_t mask_strides[4] = {0, 0, 0, 0};  ///< 0 broadcasts
};

/// What the library may take; of this, supports() tells what it does take. Convolution: floats, y of the size that
/// follows from x, fewer than 2^31 elements. The bias is not the library's: see add_bias(). Attention: bf16 and f16
/// without a mask, rows of a multiple of 8 elements in memory, at most 256.
bool library_takes(const ConvolutionCall& c);
bool library_takes(const AttentionCall& c);
/// The library is there and takes this call. Cheap after the first call of a shape.
bool supports(const ConvolutionCall& c);
bool supports(const AttentionCall& c);
/// Only what supports() said yes to. Throws weft::Error with the library's words.
void run(const ConvolutionCall& c, cudaStream_t stream);
void run(const AttentionCall& c, cudaStream_t stream);

/// Name and version of the library, or why it is missing.
std::string dnn_library();
/// The library against the project's kernels on the current device: largest relative errors and times, as text.
std::string dnn_self_test();

/// The project's own kernels, on the current stream: any layout, any mask, every dtype of the ops.
void convolution_kernels(const ConvolutionCall& c);
void attention_kernels(const AttentionCall& c);
/// The bias of a call whose product the library made: added to y or x (memory without holes), or (weight gradient)
/// summed from y.
void add_bias(const ConvolutionCall& c);

}  // namespace weft::gpu::dnn
