# Libraries outside weft's own work. Headers only (weft_vendor: never part of a public header), and zlib, linked statically
# so that programs need the C library alone.
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_library(WEFT_LIBZ NAMES libz.a z REQUIRED)
find_path(WEFT_EIGEN Eigen/Core PATHS ${WEFT_VENDOR} PATH_SUFFIXES eigen3)

add_library(weft_vendor INTERFACE)
target_include_directories(weft_vendor SYSTEM INTERFACE ${WEFT_VENDOR})
target_compile_definitions(weft_vendor INTERFACE FMT_HEADER_ONLY)
target_link_libraries(weft_vendor INTERFACE Threads::Threads)
if(WEFT_EIGEN AND NOT WEFT_EIGEN STREQUAL "/usr/include")
  target_include_directories(weft_vendor SYSTEM INTERFACE ${WEFT_EIGEN})
endif()

# Optional: pictures. Where a library is missing, reading its format is an error that names the package.
find_path(WEFT_PNG_INCLUDE png.h)
find_library(WEFT_LIBPNG NAMES libpng.a libpng16.a png)
find_path(WEFT_JPEG_INCLUDE jpeglib.h)
find_library(WEFT_LIBJPEG NAMES libjpeg.a jpeg)
set(WEFT_IMAGE_LIBRARIES "")
set(WEFT_IMAGE_DEFINITIONS "")
foreach(format PNG JPEG)
  if(WEFT_${format}_INCLUDE AND WEFT_LIB${format})
    list(APPEND WEFT_IMAGE_LIBRARIES ${WEFT_LIB${format}})
    list(APPEND WEFT_IMAGE_DEFINITIONS WEFT_${format})
  endif()
endforeach()
