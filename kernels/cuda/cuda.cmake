# The CUDA backend: WEFT_CUDA=auto|on|off|emulate. .cu files are compiled by nvcc for devices, or from the same text by
# the host compiler for the emulation, which runs everywhere.
set(WEFT_CUDA auto CACHE STRING "auto (on where there are nvcc and an NVIDIA driver), on, off or emulate")
set_property(CACHE WEFT_CUDA PROPERTY STRINGS auto on off emulate)
set(WEFT_CUDA_ARCHITECTURES "80;90" CACHE STRING "compute capabilities to compile for, and PTX of the lowest one")
if(NOT WEFT_CUDA MATCHES "^(auto|on|off|emulate)$")
  message(FATAL_ERROR "WEFT_CUDA: '${WEFT_CUDA}' is not known; give auto, on, off or emulate")
endif()

# The emulation switches stacks with x86-64 assembly; ThreadSanitizer cannot follow it.
set(WEFT_CUDA_EMULATION OFF)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$" AND NOT WEFT_SANITIZE STREQUAL "thread")
  set(WEFT_CUDA_EMULATION ON)
endif()

# nvcc and the static runtime, where the toolkit is installed.
find_program(WEFT_NVCC nvcc HINTS $ENV{CUDA_HOME}/bin /usr/local/cuda/bin)
if(WEFT_NVCC)
  get_filename_component(nvcc_real ${WEFT_NVCC} REALPATH)
  get_filename_component(nvcc_bin ${nvcc_real} DIRECTORY)
  set(WEFT_CUDA_INCLUDE ${nvcc_bin}/../include)
  find_library(WEFT_CUDART NAMES cudart_static HINTS ${nvcc_bin}/.. $ENV{CUDA_HOME} /usr/local/cuda
    PATH_SUFFIXES lib64 lib targets/x86_64-linux/lib)
endif()

set(cuda_mode ${WEFT_CUDA})
if(cuda_mode STREQUAL "auto")
  set(cuda_mode off)
  if(WEFT_NVCC AND WEFT_CUDART AND NOT WEFT_SANITIZE AND EXISTS /proc/driver/nvidia/version)
    set(cuda_mode on)
  endif()
endif()
if(cuda_mode STREQUAL "on" AND NOT (WEFT_NVCC AND WEFT_CUDART))
  message(FATAL_ERROR "WEFT_CUDA=on: no nvcc with libcudart_static.a was found; install the CUDA toolkit (12.4 or later), "
    "set CUDA_HOME, or use WEFT_CUDA=off")
endif()
if(cuda_mode STREQUAL "emulate" AND NOT WEFT_CUDA_EMULATION)
  message(FATAL_ERROR "WEFT_CUDA=emulate: the emulation needs x86-64 and cannot run under ThreadSanitizer")
endif()

# No contraction, IEEE division and square root, no flush to zero (nvcc's defaults but for --fmad).
set(WEFT_NVCC_FLAGS -std=c++20 -O3 --fmad=false --expt-relaxed-constexpr --extended-lambda -Xfatbin=-compress-all
  -Xcompiler=-fPIC,-ffp-contract=off,-O2 -diag-suppress=177,186,550,20011,20012,20014)
# No text depends on the architecture: one PTX of the lowest serves all, and ptxas makes the same code of it as of their
# own (compared byte by byte for sm_90); a second architecture costs a fifth more time.
# Those with a suffix (90a) take only their own.
set(architectures ${WEFT_CUDA_ARCHITECTURES})
list(FILTER architectures INCLUDE REGEX "^[0-9]+$")
if(architectures)
  list(SORT architectures COMPARE NATURAL)
  list(GET architectures 0 lowest)
  list(TRANSFORM architectures PREPEND sm_)
  list(JOIN architectures "," architectures)
  list(APPEND WEFT_NVCC_FLAGS "-gencode=arch=compute_${lowest},code=[${architectures},compute_${lowest}]")
endif()
set(architectures ${WEFT_CUDA_ARCHITECTURES})
list(FILTER architectures EXCLUDE REGEX "^[0-9]+$")
foreach(architecture ${architectures})
  list(APPEND WEFT_NVCC_FLAGS -gencode=arch=compute_${architecture},code=sm_${architecture})
endforeach()

# Objects of the .cu files `ARGN` in the list `objects`.
function(weft_real_cuda objects)
  set(made "")
  foreach(source ${ARGN})
    file(RELATIVE_PATH name ${PROJECT_SOURCE_DIR} ${source})
    set(object ${PROJECT_BINARY_DIR}/cuda/${name}.o)
    get_filename_component(folder ${object} DIRECTORY)
    file(MAKE_DIRECTORY ${folder})
    add_custom_command(OUTPUT ${object}
      COMMAND ${CMAKE_CXX_COMPILER_LAUNCHER} ${WEFT_NVCC} -ccbin ${CMAKE_CXX_COMPILER} ${WEFT_NVCC_FLAGS}
        -I${PROJECT_SOURCE_DIR} -MD -MF ${object}.d -c ${source} -o ${object}
      DEPENDS ${source} DEPFILE ${object}.d VERBATIM)
    list(APPEND made ${object})
  endforeach()
  set(${objects} ${made} PARENT_SCOPE)
endfunction()

# Object library `target` of .cu and .cpp files for the host emulation.
function(weft_emulated_cuda target)
  set(cu ${ARGN})
  list(FILTER cu INCLUDE REGEX "\\.cu$")
  set_source_files_properties(${cu} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-xc++")
  add_library(${target} OBJECT ${ARGN})
  target_include_directories(${target} PUBLIC ${PROJECT_SOURCE_DIR})
  target_compile_definitions(${target} PUBLIC WEFT_CUDA_EMULATE)
  target_compile_options(${target} PRIVATE ${WEFT_NUMERIC_FLAGS} ${WEFT_WARNING_FLAGS} -march=${WEFT_ARCH})
endfunction()

set(cuda_folder ${PROJECT_SOURCE_DIR}/kernels/cuda)
# Headers of the kernels of users' own ops, which are compiled when they first run: inside of the library, so that a
# program needs no sources.
set(device_texts core/dtype.h core/half.h core/ops/cast.h core/ops/record.h kernels/convert_value.h
  kernels/cuda/elements.cuh kernels/cuda/loop_operand.h kernels/cuda/pairs.cuh kernels/cuda/pointwise.cuh
  kernels/cuda/rtc/std.h)
list(TRANSFORM device_texts PREPEND ${PROJECT_SOURCE_DIR}/)
file(GLOB math_texts CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/core/ops/math*.h)
list(APPEND device_texts ${math_texts})
set(embedded ${PROJECT_BINARY_DIR}/device_texts.cpp)
add_custom_command(OUTPUT ${embedded}
  COMMAND ${CMAKE_COMMAND} -DROOT=${PROJECT_SOURCE_DIR} -DOUT=${embedded} "-DTEXTS=${device_texts}"
    -DHEADER=kernels/cuda/custom_code.h -DNAMESPACE=weft::gpu -DTYPE=EmbeddedText -DFUNCTION=device_texts
    -P ${PROJECT_SOURCE_DIR}/cmake/embed_texts.cmake
  DEPENDS ${device_texts} ${PROJECT_SOURCE_DIR}/cmake/embed_texts.cmake VERBATIM)
file(GLOB cuda_texts CONFIGURE_DEPENDS ${cuda_folder}/*.cu)
file(GLOB cuda_sources CONFIGURE_DEPENDS ${cuda_folder}/*.cpp)
if(cuda_mode STREQUAL "off")
  add_library(weft_cuda OBJECT ${cuda_folder}/off/backend.cpp)
  target_include_directories(weft_cuda PRIVATE ${PROJECT_SOURCE_DIR})
elseif(cuda_mode STREQUAL "emulate")
  file(GLOB emulation CONFIGURE_DEPENDS ${cuda_folder}/emulate/*.cpp)
  weft_emulated_cuda(weft_cuda ${cuda_texts} ${cuda_sources} ${embedded} ${emulation})
else()
  file(GLOB real CONFIGURE_DEPENDS ${cuda_folder}/real/*.cpp)
  file(GLOB real_texts CONFIGURE_DEPENDS ${cuda_folder}/real/*.cu)
  weft_real_cuda(cuda_objects ${cuda_texts} ${real_texts})
  add_library(weft_cuda OBJECT ${cuda_sources} ${embedded} ${real})
  target_include_directories(weft_cuda PRIVATE ${PROJECT_SOURCE_DIR})
  target_include_directories(weft_cuda SYSTEM PRIVATE ${WEFT_CUDA_INCLUDE})
  list(APPEND WEFT_OBJECTS ${cuda_objects})
  set(WEFT_CUDA_LIBRARIES ${WEFT_CUDART} rt)
endif()
target_link_libraries(weft_cuda PRIVATE weft_vendor)
target_compile_options(weft_cuda PRIVATE ${WEFT_NUMERIC_FLAGS} ${WEFT_WARNING_FLAGS})
list(APPEND WEFT_OBJECTS $<TARGET_OBJECTS:weft_cuda>)
