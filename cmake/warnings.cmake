# SPDX-License-Identifier: MIT
# Warnings are errors in our own code, and only there: a parent project keeps its own settings.
function(rotorquant_warnings target)
  target_compile_options(${target} PRIVATE -Wall -Wextra -Wpedantic -Wshadow -Wconversion
                                           -Wno-sign-conversion)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    # GCC 12 takes an inlined std::string assignment for an overlapping copy (GCC bug 105651).
    target_compile_options(${target} PRIVATE -Wno-restrict)
  endif()
  if(ROTORQUANT_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
endfunction()
