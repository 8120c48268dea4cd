#pragma once

// The user's own header of this name: weft's headers must not pick it up.
namespace consumer {
struct Tensor {
  int id = 7;
};
}  // namespace consumer
