# cmake --install gives libweft.a, the headers under include/weft and weftConfig.cmake: find_package(weft), then link weft::weft.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS weft ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET weft_program)
  install(TARGETS weft_program RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()
install(CODE "
  set(WEFT_SOURCE \"${PROJECT_SOURCE_DIR}\")
  set(WEFT_HEADERS \"\$ENV{DESTDIR}\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_INCLUDEDIR}/weft\")
  include(\"${PROJECT_SOURCE_DIR}/cmake/install_headers.cmake\")")

set(config_folder ${CMAKE_INSTALL_LIBDIR}/cmake/weft)
configure_package_config_file(cmake/weftConfig.cmake.in weftConfig.cmake INSTALL_DESTINATION ${config_folder}
  PATH_VARS CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_LIBDIR)
write_basic_package_version_file(weftConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/weftConfig.cmake ${PROJECT_BINARY_DIR}/weftConfigVersion.cmake DESTINATION ${config_folder})
