# SPDX-License-Identifier: MIT
# What `cmake --install` writes: enough for find_package(rotorquant) elsewhere.
#
#   include/rotorquant/*.h    the core,        #include "rotorquant/codec.h"
#   include/faiss_ext/*.h     the FAISS layer, #include "faiss_ext/index_factory.h"
#
# The include directory is `include` alone: headers called search.h or error.h must never stand
# where they could answer for the C library's.
include(CMakePackageConfigHelpers)

set(rotorquant_package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/rotorquant)
set(rotorquant_installed_targets rotorquant)
install(DIRECTORY include/rotorquant DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
        FILES_MATCHING PATTERN "*.h")
if(ROTORQUANT_FAISS)
  list(APPEND rotorquant_installed_targets rotorquant_faiss)
  install(DIRECTORY faiss_ext DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
          FILES_MATCHING PATTERN "*.h")
endif()

if(TARGET rotorquant_gpu)
  list(APPEND rotorquant_installed_targets rotorquant_gpu)
endif()
if(TARGET rotorquant_faiss_gpu)
  list(APPEND rotorquant_installed_targets rotorquant_faiss_gpu)
endif()

install(TARGETS ${rotorquant_installed_targets} EXPORT rotorquant-targets
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR}
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR}
        INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(EXPORT rotorquant-targets NAMESPACE rotorquant:: DESTINATION ${rotorquant_package_dir})

configure_package_config_file(cmake/rotorquant-config.cmake.in rotorquant-config.cmake
                              INSTALL_DESTINATION ${rotorquant_package_dir})
# Before 1.0 a new minor version may break users.
write_basic_package_version_file(rotorquant-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_CURRENT_BINARY_DIR}/rotorquant-config.cmake
              ${CMAKE_CURRENT_BINARY_DIR}/rotorquant-config-version.cmake
              cmake/FindXXHash.cmake cmake/Findfaiss.cmake
        DESTINATION ${rotorquant_package_dir})
