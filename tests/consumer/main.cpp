// Uses weft as installed, beside a header of this project that is called core/tensor.h too.
#include <weft/weft.h>

#include <cstdio>

#include "core/tensor.h"

using namespace weft;

int main() {
  consumer::Tensor own;
  Tensor x = full({}, 3.0);
  x.set_requires_grad(true);
  (x * x).backward();
  double slope = x.grad().item<double>();
  std::printf("own tensor %d, slope of x^2 at 3: %g\n", own.id, slope);
  return slope == 6 ? 0 : 1;
}
