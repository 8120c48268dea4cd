# Writes the files TEXTS (absolute, under ROOT) as C++ string literals to OUT.
set(rows "")
foreach(path ${TEXTS})
  file(RELATIVE_PATH name ${ROOT} ${path})
  file(READ ${path} text)
  string(APPEND rows "    {\"${name}\", R\"WEFT_TEXT(${text})WEFT_TEXT\"},\n")
endforeach()
file(WRITE ${OUT} "#include \"tests/slice/texts.h\"

namespace weft::slice {

std::span<const Text> embedded_texts() {
  static constexpr Text texts[] = {
${rows}  };
  return texts;
}

}  // namespace weft::slice
")
