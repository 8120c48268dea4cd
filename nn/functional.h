#pragma once
#include "core/ops/attention.h"
#include "core/ops/batch_norm.h"
#include "core/ops/conv.h"
#include "core/ops/dropout.h"
#include "core/ops/embedding.h"
#include "core/ops/loss_api.h"
#include "core/ops/matmul.h"
#include "core/ops/norm.h"
#include "core/ops/pointwise_api.h"
#include "core/ops/pool.h"
#include "core/ops/shape.h"
#include "core/ops/softmax.h"

// torch.nn.functional: the names of namespace weft that live there in PyTorch, and what is composed of them.
namespace weft::nn::functional {

using weft::embedding;
using weft::linear;
using weft::one_hot;

// activations
using weft::celu;
using weft::elu;
using weft::gelu;
using weft::glu;
using weft::hardshrink;
using weft::hardsigmoid;
using weft::hardswish;
using weft::hardtanh;
using weft::leaky_relu;
using weft::log_softmax;
using weft::logsigmoid;
using weft::mish;
using weft::prelu;
using weft::relu;
using weft::relu6;
using weft::rrelu;
using weft::selu;
using weft::sigmoid;
using weft::silu;
using weft::softmax;
using weft::softmin;
using weft::softplus;
using weft::softshrink;
using weft::softsign;
using weft::tanh;
using weft::tanhshrink;
using weft::threshold;

// dropout
using weft::alpha_dropout;
using weft::dropout;
using weft::dropout1d;
using weft::dropout2d;
using weft::dropout3d;
using weft::feature_alpha_dropout;

// convolution, pooling, padding
using weft::adaptive_avg_pool1d;
using weft::adaptive_avg_pool2d;
using weft::adaptive_avg_pool3d;
using weft::adaptive_max_pool1d;
using weft::adaptive_max_pool2d;
using weft::adaptive_max_pool3d;
using weft::avg_pool1d;
using weft::avg_pool2d;
using weft::avg_pool3d;
using weft::conv1d;
using weft::conv2d;
using weft::conv3d;
using weft::conv_transpose1d;
using weft::conv_transpose2d;
using weft::conv_transpose3d;
using weft::max_pool1d;
using weft::max_pool2d;
using weft::max_pool3d;
using weft::pad;

// normalisation, distance, attention
using weft::batch_norm;
using weft::cosine_similarity;
using weft::group_norm;
using weft::instance_norm;
using weft::layer_norm;
using weft::normalize;
using weft::pairwise_distance;
using weft::rms_norm;
using weft::scaled_dot_product_attention;

// losses
using weft::binary_cross_entropy;
using weft::binary_cross_entropy_with_logits;
using weft::cosine_embedding_loss;
using weft::cross_entropy;
using weft::gaussian_nll_loss;
using weft::hinge_embedding_loss;
using weft::huber_loss;
using weft::kl_div;
using weft::l1_loss;
using weft::margin_ranking_loss;
using weft::mse_loss;
using weft::multi_margin_loss;
using weft::multilabel_margin_loss;
using weft::multilabel_soft_margin_loss;
using weft::nll_loss;
using weft::poisson_nll_loss;
using weft::smooth_l1_loss;
using weft::soft_margin_loss;
using weft::triplet_margin_loss;

/// x1^T W_k x2 + b_k for every k: x1 [..., in1], x2 [..., in2], weight [out, in1, in2], bias [out] or undefined.
Tensor bilinear(const Tensor& x1, const Tensor& x2, const Tensor& weight, const Tensor& bias = {});

}  // namespace weft::nn::functional
