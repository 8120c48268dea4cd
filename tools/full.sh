#!/usr/bin/env bash
# One slow part of `tools/test --full`, run by ctest (tests/full.cmake): full.sh PART. Exit 77: the machine lacks what it needs.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
skip() {
  echo "skipped: $*"
  exit 77
}

# Builds everything in build/NAME with the given cmake arguments and runs the tests but those that match WITHOUT: of
# programs whose code other tests run too, and which take minutes under a sanitizer.
other_build() {
  local name=$1 without=$2 start=$SECONDS
  shift 2
  weft_configure "$weft_build/$name" tests -DCMAKE_BUILD_TYPE=Release -DWEFT_PRECOMPILE=ON "$@"
  weft_make "$weft_build/$name" all
  echo "built in $((SECONDS - start)) s"
  ctest --test-dir "$weft_build/$name" --output-on-failure -j 2 -E "^(check\\.|consumer|interop\.torch$without)"
}

case $1 in
  conformance)
    cases=${WEFT_CONFORMANCE:-$weft_root/../shared/conformance}
    [ -f "$cases/manifest.json" ] || skip "no conformance cases at $cases (set WEFT_CONFORMANCE)"
    status=0
    "$weft_build/bin/weft" check "$cases/ops" --list "$cases/first.txt" --strict --known "$weft_root/tests/known_differences.txt" || status=1
    WEFT_NATIVE=0 "$weft_build/bin/weft" check "$cases/ops" --list "$cases/first.txt" --mode compiled --known "$weft_root/tests/known_differences.txt" || status=1
    # Of these, what has no class yet counts as missing, not as failed.
    for folder in modules optim train checkpoints lr_scheduler; do "$weft_build/bin/weft" check "$cases/$folder" || status=1; done
    for folder in modules optim train; do WEFT_NATIVE=wait "$weft_build/bin/weft" check "$cases/$folder" --mode compiled || status=1; done
    exit $status
    ;;
  calls)
    # Valgrind knows no AVX-512.
    command -v valgrind >/dev/null || skip "valgrind is not installed"
    weft_configure "$weft_build/calls" tests -DCMAKE_BUILD_TYPE=Release -DWEFT_ARCH=x86-64-v3
    weft_make "$weft_build/calls" calls
    python3 "$weft_root/tests/calls/check_calls.py" "$weft_build/calls/bin/calls"
    ;;
  emulate)
    # The CUDA backend on the host: its tests, and PyTorch's cases on the emulated device in three orders of threads and
    # blocks, with two contents of fresh memory.
    weft_configure "$weft_build/emulate" tests -DCMAKE_BUILD_TYPE=Release -DWEFT_CUDA=emulate
    start=$SECONDS
    weft_make "$weft_build/emulate" weft_program device_tests
    echo "built in $((SECONDS - start)) s"
    ctest --test-dir "$weft_build/emulate" --output-on-failure -j 2 -R "^cuda"
    weft=$weft_build/emulate/bin/weft known=$weft_root/tests/known_differences.txt status=0
    cases=${WEFT_CONFORMANCE:-$weft_root/../shared/conformance}
    [ -f "$cases/manifest.json" ] || cases=""
    for order in "1 255" "2 90" "3 255"; do
      export WEFT_EMULATE_SEED=${order% *} WEFT_EMULATE_POISON=${order#* }
      "$weft" check "$weft_root/tests/golden" --device cuda --known "$known" || status=1
      [ -z "$cases" ] || "$weft" check "$cases/ops" --list "$cases/first.txt" --device cuda --jobs 2 --known "$known" || status=1
      for folder in ${cases:+modules optim}; do "$weft" check "$cases/$folder" --device cuda --jobs 2 || status=1; done
    done
    [ -z "$cases" ] || "$weft" check "$cases/train" --device cuda --jobs 2 || status=1
    "$weft" fuzz programs --device cuda --count 200 || status=1
    exit $status
    ;;
  emulate_asan)
    # By hand: 30 minutes. All that the emulated device runs, under AddressSanitizer.
    export UBSAN_OPTIONS=print_stacktrace=1
    weft_configure "$weft_build/emulate_asan" tests -DCMAKE_BUILD_TYPE=Release -DWEFT_CUDA=emulate -DWEFT_SANITIZE=address
    weft_make "$weft_build/emulate_asan" weft_program device_tests
    ctest --test-dir "$weft_build/emulate_asan" --output-on-failure -j 2 -R "^cuda" --timeout 1500
    "$weft_build/emulate_asan/bin/weft" check "$weft_root/tests/golden" --device cuda --jobs 2 --known "$weft_root/tests/known_differences.txt"
    ;;
  cuda)
    # nvcc compiles and links all of it, for one architecture to save time; without a device the program still starts
    # and says why there is none.
    command -v nvcc >/dev/null || [ -x /usr/local/cuda/bin/nvcc ] || skip "nvcc is not installed"
    weft_configure "$weft_build/cuda" tests -DCMAKE_BUILD_TYPE=Release -DWEFT_CUDA=on -DWEFT_CUDA_ARCHITECTURES=90
    start=$SECONDS
    weft_make "$weft_build/cuda" weft_program test_cuda
    echo "built in $((SECONDS - start)) s"
    "$weft_build/cuda/bin/weft" info
    "$weft_build/cuda/bin/test_cuda"
    strip -o "$weft_build/cuda/stripped" "$weft_build/cuda/bin/weft"
    bytes=$(stat -c %s "$weft_build/cuda/stripped")
    echo "the program without symbols has $bytes bytes"
    [ "$bytes" -le 60000000 ]
    ;;
  asan)
    export UBSAN_OPTIONS=print_stacktrace=1
    other_build asan "|bench" -DWEFT_SANITIZE=address
    ;;
  tsan)
    other_build tsan "|bench|slice|golden" -DWEFT_SANITIZE=thread
    ;;
  fuzz)
    "$weft_root/tools/fuzz_readers" 15
    ;;
  clang)
    command -v clang++ >/dev/null || skip "clang++ is not installed"
    other_build clang "" -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_CXX_FLAGS=-Werror
    ;;
  *)
    weft_fail "full.sh: no part is called $1"
    ;;
esac
