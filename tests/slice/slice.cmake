# The thin slice: one op text through every carrier. test_slice exists already; what only some machines have joins here.
set(slice ${PROJECT_SOURCE_DIR}/tests/slice)
set(slice_cu ${slice}/ten_records.cu ${PROJECT_SOURCE_DIR}/kernels/cuda/softmax.cu)

# The texts that are compiled at run time, as C++ string literals.
file(GLOB slice_texts CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/core/ops/*.h)
list(APPEND slice_texts ${PROJECT_SOURCE_DIR}/core/reduction_order.h ${PROJECT_SOURCE_DIR}/kernels/cuda/reduce.cuh)
set(slice_embedded ${CMAKE_CURRENT_BINARY_DIR}/embedded_texts.cpp)
add_custom_command(OUTPUT ${slice_embedded}
  COMMAND ${CMAKE_COMMAND} -DROOT=${PROJECT_SOURCE_DIR} -DOUT=${slice_embedded} "-DTEXTS=${slice_texts}" -P ${slice}/embed.cmake
  DEPENDS ${slice_texts} ${slice}/embed.cmake VERBATIM)

list(JOIN WEFT_NUMERIC_FLAGS " " numeric_flags)
target_sources(test_slice PRIVATE ${slice_embedded} ${slice}/texts.cpp ${slice}/eager.cpp ${slice}/library.cpp ${slice}/loops.cpp
  ${PROJECT_SOURCE_DIR}/kernels/cuda/nvrtc.cpp)
target_compile_options(test_slice PRIVATE -march=native)
set_source_files_properties(${slice}/loops.cpp PROPERTIES COMPILE_OPTIONS "${WEFT_KERNEL_FLAGS}")
target_compile_definitions(test_slice PRIVATE WEFT_COMPILER="${CMAKE_CXX_COMPILER}" WEFT_NUMERIC_FLAGS="${numeric_flags}")
set_tests_properties(slice PROPERTIES TIMEOUT 600)

if(WEFT_CUDA_EMULATION)
  weft_emulated_cuda(slice_emulated ${slice_cu})
  target_link_libraries(test_slice PRIVATE slice_emulated)
endif()

# The same kernels and the same test, by nvcc: links everywhere, runs where there is a GPU.
if(WEFT_CUDA_REAL)
  weft_real_cuda(slice_objects ${slice_cu})
  get_filename_component(toolkit ${WEFT_NVCC} REALPATH)
  get_filename_component(toolkit ${toolkit} DIRECTORY)
  add_executable(test_slice_cuda ${slice_objects} ${slice}/kernels_test.cpp
    ${PROJECT_SOURCE_DIR}/kernels/cuda/launch_check.cpp)
  target_include_directories(test_slice_cuda SYSTEM PRIVATE ${toolkit}/../include)
  target_compile_definitions(test_slice_cuda PRIVATE WEFT_CUDA_REAL)
  target_compile_options(test_slice_cuda PRIVATE $<$<CONFIG:Release>:-O1> ${WEFT_NUMERIC_FLAGS} ${WEFT_WARNING_FLAGS}
    -march=native)
  target_link_libraries(test_slice_cuda PRIVATE weft weft_test_main ${WEFT_CUDART} rt)
  add_test(NAME slice_cuda COMMAND test_slice_cuda)
  set_tests_properties(slice_cuda PROPERTIES TIMEOUT 600)
else()
  message(STATUS "tests/slice: no nvcc with a static CUDA runtime; the real CUDA build is left out")
endif()
