# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# What the scripts beside this file share: sourced, never run. Results go to stdout, progress to
# stderr.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

# Objects are then found again from another clone of the same sources.
export CCACHE_BASEDIR="${CCACHE_BASEDIR:-$root}"

# OpenMP's idle threads would spin on the cores that OpenBLAS's own threads need (ctest sets it too).
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"

build_packages=(
  g++ cmake ninja-build ccache python3
  libfaiss-dev libopenblas-dev liblapack-dev libxxhash-dev
  libhdf5-dev libcli11-dev libfmt-dev nlohmann-json3-dev
  libgtest-dev libgmock-dev libbenchmark-dev
)
# python3-faiss: what the tests of rotorquant.faiss load.
python_packages=(python3-dev python3-venv python3-faiss)
# Named with their version: another one formats and warns differently.
lint_packages=(clang-format-14 clang-tidy-14 libomp-14-dev)
# ThreadSanitizer understands LLVM's OpenMP, not GCC's.
tsan_packages=(clang libclang-rt-14-dev libomp-14-dev)

# scripts/test-neon, beside GoogleTest's sources
neon_packages=(g++-aarch64-linux-gnu qemu-user)

say() { printf '%s\n' "$*" >&2; }

fail() {
  say "${0##*/}: $*"
  exit 1
}

usage_error() {
  say "${0##*/}: $*"
  exit 2
}

# need <package>...: installs those that are missing. ROTORQUANT_NO_SETUP=1 takes it that all are
# there, for machines whose packages have other names.
need() {
  [[ ${ROTORQUANT_NO_SETUP:-} == 1 ]] && return
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    fail "this is no Debian system: install what these Debian packages hold, then run it again" \
      "with ROTORQUANT_NO_SETUP=1: $*"
  fi
  local installed package missing=()
  # The exit status only says that some are unknown, which is what is being asked.
  installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "$@" 2>/dev/null || true)
  for package in "$@"; do
    grep -qxF "installed $package" <<<"$installed" || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  local as_root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null ||
      fail "neither root nor sudo here; as root run: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  say "== installing ${missing[*]}"
  "${as_root[@]}" apt-get update -qq >&2 ||
    say "apt-get update failed; going on with the package lists that are here"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -qq -y --no-install-recommends "${missing[@]}" >&2 ||
    fail "could not install: ${missing[*]}"
}

jobs=${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc 2>/dev/null || echo 2)}

# configure <preset> <build folder> [cmake argument...]: only where it was not done already; later
# changes of the CMake files are Ninja's business.
configure() {
  local preset=$1 folder=$2
  shift 2
  [[ -f $folder/build.ninja && ! CMakePresets.json -nt $folder/build.ninja ]] && return
  local launcher=()
  if command -v ccache >/dev/null; then
    launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache -DCMAKE_CXX_COMPILER_LAUNCHER=ccache
      -DCMAKE_CUDA_COMPILER_LAUNCHER=ccache)
  fi
  say "== configuring $folder"
  cmake --preset "$preset" -B "$folder" "${launcher[@]}" "$@" >&2
}

# build <build folder> [target...]
build() {
  local folder=$1
  shift
  say "== building $folder"
  cmake --build "$folder" --parallel "$jobs" ${1:+--target "$@"} >&2
}

# cpp_files <folder>...: the C++ and CUDA files in them.
cpp_files() {
  find "$@" -type f \( -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' -o -name '*.inl' \) | sort
}
