#!/usr/bin/env bash
# Download what gpu.sh needs beside torch, triton, NumPy, OpenCV, h5py, Pillow, onnx, pytest and typer, for a GPU machine that reaches no
# package index: ./gpu_wheels.sh FOLDER [PYTHON_VERSION]. About 110 MB, of which rasterio, pyproj, shapely and embreex are for `build` and
# `query` alone; FAISS for the GPU (PEER=faiss-cuda==1.14.1.post4; 79 MB more, for CUDA 13) takes the place of faiss-cpu.
set -euo pipefail
folder=${1:?give a folder}
version=${2:-3.12}
platforms=()
for age in manylinux_2_35_x86_64 manylinux_2_34_x86_64 manylinux_2_31_x86_64 manylinux_2_28_x86_64 manylinux_2_27_x86_64 manylinux_2_24_x86_64 \
  manylinux_2_17_x86_64 manylinux2014_x86_64 manylinux1_x86_64; do
  platforms+=(--platform "$age")
done
python3 -m pip download -q --no-deps --only-binary=:all: --python-version "$version" --implementation cp "${platforms[@]}" -d "$folder" \
  -c "$(dirname "$0")/../constraints.txt" "${PEER:-faiss-cpu}" lmdb platformdirs affine pyproj shapely rasterio morecantile embreex
ls -l "$folder"
