#pragma once

#include <cstddef>
#include <cstdint>

namespace weft::gpu::emulate {

// How the emulation works: what a program starts with comes from the environment, a test may change it as it goes (not
// `guard` and `devices`, which are read once). The results of a right program depend on none of them.
struct Settings {
  uint64_t seed = 0;            // WEFT_EMULATE_SEED: order of ready threads, of blocks, and of work in several streams
  unsigned char poison = 0xff;  // WEFT_EMULATE_POISON (e.g. 0x5a): every byte of fresh memory; 0xff reads as NaN and -1
  bool lazy = true;             // WEFT_EMULATE_LAZY=0: work is done when it is put in, not when it must be
  bool races = false;  // WEFT_EMULATE_RACES=1: runs each launch in two opposite orders and compares what it did
  bool guard = false;  // WEFT_EMULATE_GUARD=1: the host cannot touch device memory; x86 faults where it tries
  int devices = 1;     // WEFT_EMULATE_DEVICES
  size_t memory = size_t{8} << 30;  // WEFT_EMULATE_MEMORY, in MiB: of each device
};
Settings& settings();

// Launches, blocks and fiber switches so far.
struct Counts {
  uint64_t launches = 0, blocks = 0, switches = 0;
};
Counts& counts();

}  // namespace weft::gpu::emulate
