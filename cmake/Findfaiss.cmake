# SPDX-License-Identifier: MIT
# The target faiss: from FAISS's own package configuration where there is one, else from its header
# and library. FAISS's configuration names OpenMP's target without looking for it: that comes first.
find_package(OpenMP QUIET COMPONENTS CXX)
find_package(faiss CONFIG QUIET)

include(FindPackageHandleStandardArgs)
if(TARGET faiss)
  find_package_handle_standard_args(faiss CONFIG_MODE)
else()
  find_path(FAISS_INCLUDE_DIR faiss/Index.h)
  find_library(FAISS_LIBRARY faiss)
  find_package_handle_standard_args(faiss REQUIRED_VARS FAISS_LIBRARY FAISS_INCLUDE_DIR)
  mark_as_advanced(FAISS_INCLUDE_DIR FAISS_LIBRARY)
  if(faiss_FOUND)
    find_package(BLAS QUIET)
    find_package(LAPACK QUIET)
    add_library(faiss UNKNOWN IMPORTED)
    set_target_properties(faiss PROPERTIES
      IMPORTED_LOCATION "${FAISS_LIBRARY}"
      INTERFACE_INCLUDE_DIRECTORIES "${FAISS_INCLUDE_DIR}"
      INTERFACE_LINK_LIBRARIES "OpenMP::OpenMP_CXX;LAPACK::LAPACK;BLAS::BLAS")
  endif()
endif()
