# One op text through every carrier: eager loops, texts compiled at run time by the host compiler and by NVRTC.
set(slice ${PROJECT_SOURCE_DIR}/tests/slice)

# The texts that are compiled at run time, as C++ string literals.
file(GLOB slice_texts CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/core/ops/*.h)
list(APPEND slice_texts ${PROJECT_SOURCE_DIR}/core/reduction_order.h ${PROJECT_SOURCE_DIR}/kernels/cuda/reduce.cuh)
set(slice_embedded ${CMAKE_CURRENT_BINARY_DIR}/embedded_texts.cpp)
add_custom_command(OUTPUT ${slice_embedded}
  COMMAND ${CMAKE_COMMAND} -DROOT=${PROJECT_SOURCE_DIR} -DOUT=${slice_embedded} "-DTEXTS=${slice_texts}"
    -DHEADER=tests/slice/texts.h -DNAMESPACE=weft::slice -DTYPE=Text -DFUNCTION=embedded_texts
    -P ${PROJECT_SOURCE_DIR}/cmake/embed_texts.cmake
  DEPENDS ${slice_texts} ${PROJECT_SOURCE_DIR}/cmake/embed_texts.cmake VERBATIM)

list(JOIN WEFT_NUMERIC_FLAGS " " numeric_flags)
target_sources(test_slice PRIVATE ${slice_embedded} ${slice}/texts.cpp ${slice}/eager.cpp ${slice}/library.cpp ${slice}/loops.cpp
  ${PROJECT_SOURCE_DIR}/kernels/cuda/nvrtc.cpp)
target_compile_options(test_slice PRIVATE -march=native)
set_source_files_properties(${slice}/loops.cpp PROPERTIES COMPILE_OPTIONS "${WEFT_KERNEL_FLAGS}"
  SKIP_PRECOMPILE_HEADERS ON)
target_compile_definitions(test_slice PRIVATE WEFT_COMPILER="${CMAKE_CXX_COMPILER}" WEFT_NUMERIC_FLAGS="${numeric_flags}")
set_tests_properties(slice PROPERTIES TIMEOUT 600)
