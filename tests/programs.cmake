# Tests that are whole programs: PyTorch's numbers, the README's code, a user's project.
if(TARGET weft_program)
  add_test(NAME golden COMMAND weft_program check ${CMAKE_CURRENT_SOURCE_DIR}/golden --strict
    --known ${CMAKE_CURRENT_SOURCE_DIR}/known_differences.txt)
  add_test(NAME golden.compiled COMMAND weft_program check ${CMAKE_CURRENT_SOURCE_DIR}/golden --mode compiled
    --known ${CMAKE_CURRENT_SOURCE_DIR}/known_differences.txt)
  set_tests_properties(golden golden.compiled PROPERTIES TIMEOUT 600 ENVIRONMENT "WEFT_NATIVE=0")
  if(NOT WEFT_SANITIZE)  # random integers overflow
    add_test(NAME fuzz.programs COMMAND weft_program fuzz programs --count 300)
    add_test(NAME fuzz.generated COMMAND weft_program fuzz programs --count 30 --seed 100000)
    set_tests_properties(fuzz.programs fuzz.generated PROPERTIES TIMEOUT 600 ENVIRONMENT "WEFT_NATIVE=0")
    set_tests_properties(fuzz.generated PROPERTIES ENVIRONMENT
      "WEFT_NATIVE=wait;WEFT_CACHE_DIR=${PROJECT_BINARY_DIR}/test_cache")
  endif()
endif()

set(readme_folder ${PROJECT_BINARY_DIR}/readme)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/README.md)
execute_process(COMMAND python3 ${PROJECT_SOURCE_DIR}/tools/readme_code.py ${PROJECT_SOURCE_DIR}/README.md ${readme_folder}
  COMMAND_ERROR_IS_FATAL ANY)
file(GLOB programs ${readme_folder}/readme_*.cpp)
foreach(source ${programs})
  get_filename_component(name ${source} NAME_WE)
  add_executable(${name} ${source})
  target_link_libraries(${name} PRIVATE weft)
  target_include_directories(${name} PRIVATE ${PROJECT_BINARY_DIR}/include)  # <weft/weft.h>
  target_compile_options(${name} PRIVATE ${WEFT_WARNING_FLAGS})
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${readme_folder})
  set_tests_properties(${name} PROPERTIES TIMEOUT 300)
endforeach()

if(CMAKE_BUILD_TYPE STREQUAL "Release" AND NOT WEFT_SANITIZE)
  add_test(NAME consumer COMMAND python3 ${CMAKE_CURRENT_SOURCE_DIR}/consumer/check_consumer.py ${PROJECT_BINARY_DIR} ${CMAKE_CXX_COMPILER})
  set_tests_properties(consumer PROPERTIES TIMEOUT 600 RUN_SERIAL ON)  # it measures what a compiler takes
endif()

if(TARGET weft_program)
  if(WEFT_SANITIZE)  # each start of an instrumented program takes long: what the build changes nothing of is left out
    set(demo_tests -k files -k resume -k modes -k no_bits -k interrupt -k generate -k damaged -k mnist)
  endif()
  foreach(command demo bench)
    add_test(NAME ${command} COMMAND python3 ${CMAKE_CURRENT_SOURCE_DIR}/tools/check_${command}.py
      $<TARGET_FILE:weft_program> ${${command}_tests})
    set_tests_properties(${command} PROPERTIES TIMEOUT 600)
  endforeach()
  if(NOT WEFT_SANITIZE)  # what a kill does to a file does not depend on the build
    add_test(NAME crash COMMAND ${PROJECT_SOURCE_DIR}/tools/crash_test --program $<TARGET_FILE:weft_program> --kills 12)
    set_tests_properties(crash PROPERTIES TIMEOUT 600)
  endif()
endif()

if(TARGET interop AND TARGET weft_program)
  add_test(NAME interop.torch COMMAND ${PROJECT_SOURCE_DIR}/tools/interop_check --program $<TARGET_FILE:interop> --weft $<TARGET_FILE:weft_program>)
  set_tests_properties(interop.torch PROPERTIES TIMEOUT 600 SKIP_RETURN_CODE 77)
endif()
