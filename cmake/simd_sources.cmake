# SPDX-License-Identifier: MIT
# One source file an instruction set, each compiled with just the flags it needs. Every CPU bit
# named here is checked at run time in src/simd/cpu_features.cpp: keep the two lists together.
set(rotorquant_simd_sources src/simd/kernels_scalar.cpp)
set(rotorquant_simd_definitions)
# GCC notes that passing wide vectors depends on the instruction set. It cannot matter here: the
# functions that do so have internal linkage.
set_source_files_properties(src/simd/kernels_scalar.cpp PROPERTIES COMPILE_OPTIONS "-Wno-psabi")

if(NOT ROTORQUANT_SCALAR_ONLY AND CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64|amd64")
  list(APPEND rotorquant_simd_sources src/simd/kernels_avx2.cpp src/simd/kernels_avx512vbmi.cpp)
  list(APPEND rotorquant_simd_definitions ROTORQUANT_HAVE_AVX2 ROTORQUANT_HAVE_AVX512VBMI)
  set_source_files_properties(src/simd/kernels_avx2.cpp PROPERTIES COMPILE_OPTIONS
    "-Wno-psabi;-mavx2;-mfma;-mf16c;-mbmi;-mbmi2;-mpopcnt;-mlzcnt")
  # GCC 12 takes the deliberately undefined operands inside its own intrinsics for mistakes (105593).
  set_source_files_properties(src/simd/kernels_avx512vbmi.cpp PROPERTIES COMPILE_OPTIONS
    "-Wno-uninitialized;-Wno-maybe-uninitialized;-mavx2;-mfma;-mf16c;-mbmi;-mbmi2;-mpopcnt;-mlzcnt;-mavx512f;-mavx512bw;-mavx512dq;-mavx512vl;-mavx512vbmi;-mavx512vnni;-mprefer-vector-width=512")
endif()
