#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# python/build_faiss.sh <prefix>: fetches, builds and installs the FAISS that wheels are made with,
# for systems whose packages have none (cibuildwheel's images; see pyproject.toml).
set -euo pipefail

prefix=${1:?prefix: expected a folder}
version=1.7.3
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
curl -fsSL "https://github.com/facebookresearch/faiss/archive/refs/tags/v$version.tar.gz" |
  tar xz -C "$folder" --strip-components=1
cmake -S "$folder" -B "$folder/build" -DCMAKE_BUILD_TYPE=Release -DCMAKE_INSTALL_PREFIX="$prefix" \
  -DCMAKE_POSITION_INDEPENDENT_CODE=ON -DBUILD_SHARED_LIBS=OFF -DBUILD_TESTING=OFF \
  -DFAISS_ENABLE_GPU=OFF -DFAISS_ENABLE_PYTHON=OFF -DBLA_VENDOR=OpenBLAS
cmake --build "$folder/build" --parallel --target install
