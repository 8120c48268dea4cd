# Copies the public headers to WEFT_HEADERS; includes written from the root ("core/tensor.h") become "weft/core/tensor.h",
# so that a consumer's own core/ is never picked up.
set(folders core autograd profiler compile nn optim data dist)
string(REPLACE ";" "|" any "${folders}")
set(headers "weft.h")
foreach(folder ${folders})
  file(GLOB_RECURSE found RELATIVE ${WEFT_SOURCE} ${WEFT_SOURCE}/${folder}/*.h ${WEFT_SOURCE}/${folder}/*.inc ${WEFT_SOURCE}/${folder}/*.def)
  list(APPEND headers ${found})
endforeach()
foreach(header ${headers})
  file(READ ${WEFT_SOURCE}/${header} text)
  string(REGEX REPLACE "#include \"(${any})/" "#include \"weft/\\1/" text "${text}")
  file(WRITE ${WEFT_HEADERS}/${header} "${text}")
endforeach()
