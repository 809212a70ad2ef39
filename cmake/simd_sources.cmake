# SPDX-License-Identifier: MIT
# One source file an instruction set, each compiled with just the flags it needs. Every CPU bit
# named here is checked at run time in src/simd/cpu_features.cpp: keep the two lists together.
set(rotorquant_simd_sources)
set(rotorquant_simd_definitions)

# rotorquant_kernels(<name> [flag...]): src/simd/kernels_<name>.cpp, compiled with the flags.
macro(rotorquant_kernels name)
  get_filename_component(source ${CMAKE_CURRENT_LIST_DIR}/../src/simd/kernels_${name}.cpp ABSOLUTE)
  string(TOUPPER ROTORQUANT_HAVE_${name} definition)
  list(APPEND rotorquant_simd_sources ${source})
  list(APPEND rotorquant_simd_definitions ${definition})
  # GCC notes that passing wide vectors depends on the instruction set. It cannot matter here: the
  # functions that do so have internal linkage.
  set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "-Wno-psabi;${ARGN}")
endmacro()

rotorquant_kernels(scalar)
if(NOT ROTORQUANT_SCALAR_ONLY AND CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  set(avx2_flags -mavx2 -mfma -mf16c -mbmi -mbmi2 -mpopcnt -mlzcnt)
  # GCC 12 takes the deliberately undefined operands inside its own intrinsics for mistakes (105593).
  set(avx512_flags ${avx2_flags} -mavx512f -mavx512bw -mavx512dq -mavx512vl
      -mprefer-vector-width=512 -Wno-uninitialized -Wno-maybe-uninitialized)
  rotorquant_kernels(avx2 ${avx2_flags})
  rotorquant_kernels(avx512bw ${avx512_flags})
  rotorquant_kernels(avx512vbmi ${avx512_flags} -mavx512vbmi -mavx512vnni)
elseif(NOT ROTORQUANT_SCALAR_ONLY AND CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64|ARM64")
  rotorquant_kernels(neon)  # part of the architecture: no flags
endif()
