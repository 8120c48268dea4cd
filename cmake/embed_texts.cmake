# Writes the files TEXTS (absolute, under ROOT) as C++ string literals to OUT: the function FUNCTION of NAMESPACE, which
# HEADER declares with its result, a std::span of const TYPE.
set(rows "")
foreach(path ${TEXTS})
  file(RELATIVE_PATH name ${ROOT} ${path})
  file(READ ${path} text)
  string(APPEND rows "    {\"${name}\", R\"WEFT_TEXT(${text})WEFT_TEXT\"},\n")
endforeach()
file(WRITE ${OUT} "#include \"${HEADER}\"

namespace ${NAMESPACE} {

std::span<const ${TYPE}> ${FUNCTION}() {
  static constexpr ${TYPE} texts[] = {
${rows}  };
  return texts;
}

}  // namespace ${NAMESPACE}
")
