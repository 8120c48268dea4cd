# Headers that nearly every file includes, compiled once for each set of flags: a third of a build from nothing. Off
# where ccache helps more: what names no build folder on its command line is compiled once for all builds (ccache), and a
# file that needs a header it does not include is found.
option(WEFT_PRECOMPILE "precompile common headers" OFF)

# weft_precompile(TARGET HEADERS...): call it when TARGET has all its options.
function(weft_precompile target)
  if(NOT WEFT_PRECOMPILE)
    return()
  endif()
  get_target_property(options ${target} COMPILE_OPTIONS)
  string(MD5 key "${options} ${ARGN}")
  get_property(first GLOBAL PROPERTY weft_precompiled_${key})
  if(first)
    target_precompile_headers(${target} REUSE_FROM ${first})
  else()
    target_precompile_headers(${target} PRIVATE ${ARGN})
    set_property(GLOBAL PROPERTY weft_precompiled_${key} ${target})
  endif()
endfunction()
