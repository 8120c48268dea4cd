# The slow parts of tools/test --full, in order of value, one at a time, each after everything before it. ctest prints
# their times; one that fails stops no other.
set(WEFT_EARLIER "")
get_property(WEFT_EARLIER DIRECTORY PROPERTY TESTS)
function(weft_part name minutes)
  math(EXPR seconds "60 * ${minutes}")
  add_test(NAME full.${name} CONFIGURATIONS full COMMAND ${PROJECT_SOURCE_DIR}/tools/full.sh ${name})
  set_tests_properties(full.${name} PROPERTIES RUN_SERIAL ON TIMEOUT ${seconds} SKIP_RETURN_CODE 77
    DEPENDS "${WEFT_EARLIER}" ENVIRONMENT "WEFT_BUILD_DIR=${PROJECT_BINARY_DIR};CXX=${CMAKE_CXX_COMPILER}")
  set(WEFT_EARLIER ${WEFT_EARLIER} full.${name} PARENT_SCOPE)
endfunction()

if(NOT WEFT_SANITIZE)
  weft_part(conformance 5)
  weft_part(emulate 30)
  weft_part(cuda 30)
  weft_part(calls 15)
  weft_part(asan 30)
  weft_part(fuzz 15)
  weft_part(tsan 25)
  weft_part(clang 25)
endif()
