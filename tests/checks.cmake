# The repo checks, as ctest entries.
function(weft_check name)
  add_test(NAME check.${name} COMMAND python3 ${PROJECT_SOURCE_DIR}/tools/check_${name}.py ${ARGN})
  set_tests_properties(check.${name} PROPERTIES TIMEOUT 300 SKIP_RETURN_CODE 77)
endfunction()

# A sanitizer or debug build repeats nothing that does not depend on the build.
if(NOT WEFT_SANITIZE)
  weft_check(layers)
  weft_check(sources)
  weft_check(records)
  weft_check(format)
  weft_check(headers ${CMAKE_CXX_COMPILER})
  weft_check(warnings ${PROJECT_BINARY_DIR}/build.log)
endif()
if(TARGET weft_program AND CMAKE_BUILD_TYPE STREQUAL "Release" AND NOT WEFT_SANITIZE)
  weft_check(program $<TARGET_FILE:weft_program>)
endif()
