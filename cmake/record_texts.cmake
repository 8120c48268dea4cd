# The texts that compile/record_text.h gives out: records of pointwise ops and what they need, inside of the library.
set(record_texts core/half.h core/ops/cast.h core/ops/record.h core/ops/math_basic.h core/ops/math_composite.h
  core/ops/math_exp.h core/ops/math_log.h core/ops/math_special.h
  core/ops/arithmetic.h core/ops/transcendental.h core/ops/activation.h core/ops/rounding.h core/ops/compare.h
  core/ops/loss.h)
list(TRANSFORM record_texts PREPEND ${PROJECT_SOURCE_DIR}/)
set(embedded_records ${PROJECT_BINARY_DIR}/record_texts.cpp)
add_custom_command(OUTPUT ${embedded_records}
  COMMAND ${CMAKE_COMMAND} -DROOT=${PROJECT_SOURCE_DIR} -DOUT=${embedded_records} "-DTEXTS=${record_texts}"
    -DHEADER=compile/record_text.h -DNAMESPACE=weft::graph -DTYPE=SourceText -DFUNCTION=source_texts
    -P ${PROJECT_SOURCE_DIR}/cmake/embed_texts.cmake
  DEPENDS ${record_texts} ${PROJECT_SOURCE_DIR}/cmake/embed_texts.cmake VERBATIM)
target_sources(weft_compile PRIVATE ${embedded_records})
