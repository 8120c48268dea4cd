# Tests of the CUDA backend, on a device or on the emulation: only in builds that have it. test_cuda skips, with a line
# that says so, where there is no device.
if(cuda_mode STREQUAL "off")
  return()
endif()
set(folder ${CMAKE_CURRENT_SOURCE_DIR}/cuda)
file(GLOB sources CONFIGURE_DEPENDS ${folder}/*_test.cpp)
if(NOT cuda_mode STREQUAL "emulate")
  list(FILTER sources EXCLUDE REGEX "emulate_test.cpp$")
endif()
add_executable(test_cuda ${sources})
target_link_libraries(test_cuda PRIVATE weft weft_test_main)
target_compile_options(test_cuda PRIVATE ${WEFT_TEST_FLAGS} ${WEFT_NUMERIC_FLAGS} ${WEFT_WARNING_FLAGS})
if(cuda_mode STREQUAL "emulate")
  target_compile_definitions(test_cuda PRIVATE WEFT_CUDA_EMULATE)
else()
  target_include_directories(test_cuda SYSTEM PRIVATE ${WEFT_CUDA_INCLUDE})
endif()
set_target_properties(test_cuda PROPERTIES ENABLE_EXPORTS ON)
add_test(NAME cuda COMMAND test_cuda)
set_tests_properties(cuda PROPERTIES TIMEOUT 1200)

# Tests of other folders that hold on any device, once more with the tensors that name none on a device. Errors of values
# are thrown where they are expected.
set(device_tests core ops autograd nn optim data profiler)
foreach(name ${device_tests})
  add_test(NAME cuda.${name} COMMAND test_${name})
  set_tests_properties(cuda.${name} PROPERTIES TIMEOUT 600 SKIP_RETURN_CODE 77 ENVIRONMENT
    "WEFT_TEST_DEVICE=cuda;WEFT_CUDA_BLOCKING=1;WEFT_NATIVE=0;WEFT_CACHE_DIR=${PROJECT_BINARY_DIR}/test_cache")
endforeach()
list(TRANSFORM device_tests PREPEND test_)
add_custom_target(device_tests DEPENDS test_cuda ${device_tests})
