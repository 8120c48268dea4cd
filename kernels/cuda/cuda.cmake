# .cu files are compiled twice from the same text: by nvcc for devices, and by the host compiler for the emulation.
# Neither needs a GPU; only running what nvcc made does.

# The emulation switches stacks with x86-64 assembly; ThreadSanitizer cannot follow it.
set(WEFT_CUDA_EMULATION OFF)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$" AND NOT WEFT_SANITIZE STREQUAL "thread")
  set(WEFT_CUDA_EMULATION ON)
endif()

# Object library `target` of .cu and .cpp files that run on the host emulation.
function(weft_emulated_cuda target)
  file(GLOB emulation CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/cuda/emulate/*.cpp)
  set(cu ${ARGN})
  list(FILTER cu INCLUDE REGEX "\\.cu$")
  set_source_files_properties(${cu} PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-xc++")
  add_library(${target} OBJECT ${ARGN} ${emulation} ${PROJECT_SOURCE_DIR}/kernels/cuda/launch_check.cpp)
  target_include_directories(${target} PUBLIC ${PROJECT_SOURCE_DIR})
  target_compile_definitions(${target} PUBLIC WEFT_CUDA_EMULATE)
  target_compile_options(${target} PRIVATE ${WEFT_NUMERIC_FLAGS} ${WEFT_WARNING_FLAGS} -march=native)
endfunction()

# nvcc and the static runtime, where the toolkit is installed.
find_program(WEFT_NVCC nvcc HINTS $ENV{CUDA_HOME}/bin /usr/local/cuda/bin)
if(WEFT_NVCC)
  get_filename_component(nvcc_real ${WEFT_NVCC} REALPATH)
  get_filename_component(nvcc_bin ${nvcc_real} DIRECTORY)
  find_library(WEFT_CUDART NAMES cudart_static HINTS ${nvcc_bin}/.. $ENV{CUDA_HOME} /usr/local/cuda
    PATH_SUFFIXES lib64 lib targets/x86_64-linux/lib)
endif()
set(WEFT_CUDA_REAL OFF)
if(WEFT_NVCC AND WEFT_CUDART AND NOT WEFT_SANITIZE)
  set(WEFT_CUDA_REAL ON)
endif()

# No contraction, IEEE division and square root, no flush to zero (nvcc's defaults but for --fmad).
set(WEFT_NVCC_FLAGS -std=c++20 -O3 --fmad=false -Xfatbin=-compress-all -Xcompiler=-fPIC,-ffp-contract=off
  -gencode=arch=compute_80,code=sm_80 -gencode=arch=compute_90,code=[sm_90,compute_90])

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
