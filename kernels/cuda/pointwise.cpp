#include "kernels/cuda/pointwise.h"

namespace weft::gpu {

void install_arithmetic();
void install_transcendental();
void install_activation();
void install_rounding();
void install_compare();
void install_loss();

void install_pointwise() {
  install_arithmetic();
  install_transcendental();
  install_activation();
  install_rounding();
  install_compare();
  install_loss();
}

}  // namespace weft::gpu
