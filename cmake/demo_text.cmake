# The text that `weft demo gpt` learns from unless told otherwise: weft's own README and sources, one behind the other,
# put into the program by tools/weft/demo_text.cpp.
set(demo_text ${PROJECT_BINARY_DIR}/demo_text.txt)
file(GLOB demo_sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/README.md ${PROJECT_SOURCE_DIR}/core/*.h ${PROJECT_SOURCE_DIR}/core/ops/*.h
  ${PROJECT_SOURCE_DIR}/core/*.cpp ${PROJECT_SOURCE_DIR}/autograd/*.h ${PROJECT_SOURCE_DIR}/autograd/*.cpp ${PROJECT_SOURCE_DIR}/nn/*.h
  ${PROJECT_SOURCE_DIR}/optim/*.h ${PROJECT_SOURCE_DIR}/data/*.h)
add_custom_command(OUTPUT ${demo_text} COMMAND cat ${demo_sources} > ${demo_text} DEPENDS ${demo_sources} VERBATIM)
set_source_files_properties(${PROJECT_SOURCE_DIR}/tools/weft/demo_text.cpp PROPERTIES
  OBJECT_DEPENDS ${demo_text} COMPILE_DEFINITIONS "WEFT_DEMO_TEXT=\"${demo_text}\"")
