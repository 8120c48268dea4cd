# Numerics: explicit fma() only, NaN and infinities kept, the same flags at run time (README, "Numerics").
# -fwrapv: integer ops wrap, as in PyTorch.
set(WEFT_NUMERIC_FLAGS -fno-math-errno -fno-trapping-math -ffp-contract=off -fwrapv)
# Only kernels/ holds loops worth it; -O2 of g++ 12 vectorises nothing.
set(WEFT_ARCH native CACHE STRING "-march of kernels/: native, or a level such as x86-64-v3")
set(WEFT_KERNEL_FLAGS -O3 -march=${WEFT_ARCH})
set(WEFT_WARNING_FLAGS -Wall -Wextra -Wpedantic -Wno-unknown-pragmas -Wno-psabi)
if(CMAKE_CXX_COMPILER_ID MATCHES Clang)
  list(APPEND WEFT_WARNING_FLAGS -Wno-pass-failed)  # loops it cannot vectorise (integer division, fmod) are no mistake
endif()
if(CMAKE_BUILD_TYPE STREQUAL "Release" AND CMAKE_CXX_FLAGS_RELEASE STREQUAL "-O3 -DNDEBUG")
  set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")
endif()

# One thread-local struct is read by every op: one instruction instead of a call when weft sits in a shared library.
add_compile_options(-ftls-model=initial-exec)
add_compile_options(-ffunction-sections -fdata-sections)
add_link_options(-Wl,--gc-sections)

if(WEFT_SANITIZE STREQUAL "address")
  add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=undefined)
  add_link_options(-fsanitize=address,undefined)
elseif(WEFT_SANITIZE STREQUAL "thread")
  add_compile_options(-fsanitize=thread)
  add_link_options(-fsanitize=thread)
elseif(WEFT_SANITIZE)
  message(FATAL_ERROR "WEFT_SANITIZE: '${WEFT_SANITIZE}' is not known; give address or thread")
elseif(CMAKE_BUILD_TYPE STREQUAL "Release")
  add_link_options(-static-libstdc++ -static-libgcc)
endif()
# Of tests, which compile longer than they run: instrumented code that is optimised takes twice as long to compile.
set(WEFT_TEST_FLAGS $<$<CONFIG:Release>:-O1>)
if(WEFT_SANITIZE)
  set(WEFT_TEST_FLAGS -O0)
  add_compile_options(-O1 -g1 -fno-omit-frame-pointer)
  set(WEFT_KERNEL_FLAGS -march=${WEFT_ARCH})
endif()

find_program(CCACHE ccache)
if(CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
endif()
