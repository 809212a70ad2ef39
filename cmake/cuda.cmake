# SPDX-License-Identifier: MIT
# The GPU parts, twice from the same sources: rotorquant_gpu and rotorquant_faiss_gpu for CUDA
# devices, and rotorquant_gpu_emulated, where kernels run on the CPU, for tests alone.

set(rotorquant_gpu_sources
  src/cuda/gpu_codec.cpp src/cuda/gpu_lists.cpp src/cuda/gpu_reference.cpp src/cuda/gpu_search.cpp
  src/cuda/gpu_store.cpp src/cuda/lists_pass.cpp src/cuda/search_pass.cpp src/cuda/store_pass.cpp)
file(GLOB rotorquant_faiss_gpu_sources CONFIGURE_DEPENDS faiss_ext/gpu/*.cpp)

# Sets rotorquant_with_cuda; where it is OFF, rotorquant_no_cuda says why.
set(rotorquant_with_cuda OFF)
set(rotorquant_no_cuda "not asked for")
if(ROTORQUANT_CUDA)
  include(CheckLanguage)
  check_language(CUDA)
  # Real code from Ampere to Blackwell; the last one's PTX serves what comes after it.
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 80-real 86-real 89-real 90-real 100-real 120)
  endif()
  if(NOT CMAKE_CUDA_COMPILER)
    set(rotorquant_no_cuda "no nvcc that works was found")
  else()
    # Apart and before the language is enabled, which ends the configuration where it fails.
    if(NOT DEFINED ROTORQUANT_CUDA_WORKS)
      set(check ${PROJECT_BINARY_DIR}/cuda_check)
      execute_process(
        COMMAND ${CMAKE_COMMAND} -S ${PROJECT_SOURCE_DIR}/cmake/cuda_check -B ${check}
                -G ${CMAKE_GENERATOR}
                -DCMAKE_CUDA_COMPILER=${CMAKE_CUDA_COMPILER}
                -DCMAKE_CUDA_HOST_COMPILER=${CMAKE_CUDA_HOST_COMPILER}
                "-DCMAKE_CUDA_FLAGS=${CMAKE_CUDA_FLAGS} --threads=0"
                "-DCMAKE_CUDA_ARCHITECTURES=${CMAKE_CUDA_ARCHITECTURES}"
        RESULT_VARIABLE failed OUTPUT_VARIABLE output ERROR_VARIABLE output)
      if(NOT failed)
        execute_process(COMMAND ${CMAKE_COMMAND} --build ${check}
          RESULT_VARIABLE failed OUTPUT_VARIABLE output ERROR_VARIABLE output)
      endif()
      set(works ON)
      if(failed)
        set(works OFF)
        file(WRITE ${check}.log "${output}")
      endif()
      set(ROTORQUANT_CUDA_WORKS ${works} CACHE INTERNAL "whether nvcc makes what GPU parts need")
    endif()
    if(ROTORQUANT_CUDA_WORKS)
      set(rotorquant_with_cuda ON)
    else()
      set(rotorquant_no_cuda
        "${CMAKE_CUDA_COMPILER} does not compile and link a test for \
${CMAKE_CUDA_ARCHITECTURES} (${PROJECT_BINARY_DIR}/cuda_check.log)")
    endif()
  endif()
  if(NOT rotorquant_with_cuda AND NOT ROTORQUANT_CUDA STREQUAL "AUTO")
    message(FATAL_ERROR "ROTORQUANT_CUDA is ${ROTORQUANT_CUDA}, but ${rotorquant_no_cuda}")
  endif()
endif()
# For scripts/cuda: the architectures, or why there are none.
if(rotorquant_with_cuda)
  set(ROTORQUANT_CUDA_STATE "ON: ${CMAKE_CUDA_ARCHITECTURES}" CACHE INTERNAL "GPU parts")
else()
  set(ROTORQUANT_CUDA_STATE "OFF: ${rotorquant_no_cuda}" CACHE INTERNAL "GPU parts")
endif()
if(NOT rotorquant_with_cuda)
  message(STATUS "CUDA: GPU parts are left out: ${rotorquant_no_cuda}")
else()
  enable_language(CUDA)
  if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
    # CMake 3.25.1 (Debian 12) does not know that nvcc 12 and 13 have it.
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
    set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  endif()
  find_package(CUDAToolkit REQUIRED)
  message(STATUS "CUDA: ${CUDAToolkit_VERSION}, for ${CMAKE_CUDA_ARCHITECTURES}")
endif()

# What every library of device code has in common. As in the core, a * b + c is never contracted:
# that is what makes the device's codes and distances the CPU's.
function(rotorquant_gpu_library target)
  target_include_directories(${target} PRIVATE src)
  target_compile_options(${target} PRIVATE -ffp-contract=off)
  target_link_libraries(${target} PUBLIC rotorquant)
  rotorquant_warnings(${target})
endfunction()

if(rotorquant_with_cuda)
  # Apart, because nvcc does not know the warnings' options.
  add_library(rotorquant_cuda_objects OBJECT src/cuda/kernels.cu src/cuda/runtime_cuda.cu)
  target_include_directories(rotorquant_cuda_objects PRIVATE src include)
  set_target_properties(rotorquant_cuda_objects PROPERTIES CUDA_STANDARD 20
                                                           CUDA_STANDARD_REQUIRED ON)
  target_compile_options(rotorquant_cuda_objects PRIVATE
    -fmad=false --expt-relaxed-constexpr --threads=0 -Xcompiler=-ffp-contract=off,-Wall,-Wextra)
  add_library(rotorquant_gpu ${rotorquant_gpu_sources} $<TARGET_OBJECTS:rotorquant_cuda_objects>)
  add_library(rotorquant::gpu ALIAS rotorquant_gpu)
  set_target_properties(rotorquant_gpu PROPERTIES EXPORT_NAME gpu)
  target_link_libraries(rotorquant_gpu PRIVATE CUDA::cudart_static CUDA::cublas)
  rotorquant_gpu_library(rotorquant_gpu)
  if(ROTORQUANT_FAISS)
    add_library(rotorquant_faiss_gpu ${rotorquant_faiss_gpu_sources})
    add_library(rotorquant::faiss_gpu ALIAS rotorquant_faiss_gpu)
    set_target_properties(rotorquant_faiss_gpu PROPERTIES EXPORT_NAME faiss_gpu)
    target_link_libraries(rotorquant_faiss_gpu PUBLIC rotorquant_gpu rotorquant_faiss)
    rotorquant_warnings(rotorquant_faiss_gpu)
  endif()
endif()

# The thread sanitizer does not follow the emulator's switches between stacks.
if(ROTORQUANT_GPU_EMULATION AND NOT CMAKE_CXX_FLAGS MATCHES "sanitize=thread")
  add_library(rotorquant_gpu_emulated STATIC
    ${rotorquant_gpu_sources} src/cuda/emulator.cpp src/cuda/kernels_emulated.cpp
    src/cuda/runtime_emulated.cpp)
  rotorquant_gpu_library(rotorquant_gpu_emulated)
  if(ROTORQUANT_FAISS)
    target_sources(rotorquant_gpu_emulated PRIVATE ${rotorquant_faiss_gpu_sources})
    target_link_libraries(rotorquant_gpu_emulated PUBLIC rotorquant_faiss)
  endif()
endif()
