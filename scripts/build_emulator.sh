#!/usr/bin/env bash
# Builds the CUDA device in software (tests/emulator), and puts it into a folder under the names
# of the libraries that a program of `--features cuda` loads:
#
#   scripts/build_emulator.sh FOLDER
#   LD_LIBRARY_PATH=FOLDER FLASHFFTCONV_REQUIRE_GPU=1 cargo test --features cuda -- gpu
#
# The program must have been built with the toolkit that CUDA_PATH names.
set -euo pipefail

folder=${1:?the folder to put the libraries into}
package=$(dirname "${BASH_SOURCE[0]}")/../tests/emulator
target=${EMULATOR_TARGET_DIR:-$HOME/.cache/candle-flashfftconv/emulator}

# The interpreter leans on wide vectors.
RUSTFLAGS="-C target-cpu=native" CARGO_TARGET_DIR=$target \
    cargo build --locked --release --quiet --manifest-path "$package/Cargo.toml"

mkdir -p "$folder"
for name in libcuda.so.1 libcublas.so.13 libcublas.so.12 libcurand.so.10; do
    ln -sfn "$target/release/libcuda_emulator.so" "$folder/$name"
done
# The runtime library itself needs no device until it is called.
for runtime in "${CUDA_PATH:?}"/lib*/libcudart.so.*; do
    ln -sfn "$runtime" "$folder/"
done
