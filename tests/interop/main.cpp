// interop FROM TO: goes on with the training that FROM describes and saves what came out (tools/interop_check).
#include <cstdio>

#include "core/error.h"
#include "data/serialize.h"
#include "tests/interop/interop.h"

int main(int count, char** arguments) {
  if (count != 3) {
    std::fputs("interop: give two files, to read and to write\n", stderr);
    return 2;
  }
  try {
    weft::save(arguments[2], weft::interop::train(weft::load(arguments[1])));
  } catch (const weft::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
