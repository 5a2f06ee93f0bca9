#!/usr/bin/env bash
# Installs a CUDA compiler for building the feature `cuda` on a machine that has
# neither a GPU nor the CUDA toolkit. No root is needed.
#
#   eval "$(scripts/setup_nvcc.sh)"         # into ~/.cache/candle-flashfftconv/cuda
#   eval "$(scripts/setup_nvcc.sh FOLDER)"
#   cargo build --release --features cuda
#
# What is built with it runs on any machine with a GPU and the CUDA 13 libraries.
# The second run finds everything in place and takes no time.
#
# Needed: python3 with pip, gcc, cargo. Honoured: CUDA_COMPUTE_CAP (default 90),
# NVCC_APPEND_FLAGS, CUDAFORGE_THREADS. Messages go to stderr, the settings to stdout.
set -euo pipefail

# The compiler, its device back end, and the headers and library that it needs.
packages=(
    nvidia-cuda-nvcc==13.0.88
    nvidia-nvvm==13.0.88
    nvidia-cuda-crt==13.0.88
    nvidia-cuda-runtime==13.0.96
    nvidia-cuda-cccl==13.0.85
)
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
toolkit=${1:-$HOME/.cache/candle-flashfftconv/cuda}

note() { echo "setup_nvcc: $*" >&2; }

fail() {
    note "$*"
    exit 1
}

need() { command -v "$1" >/dev/null || fail "$1 is needed, but not on the PATH"; }

# Whether FILE holds exactly TEXT: what a finished step left behind.
is_done() { [[ -f $1 && $(<"$1") == "$2" ]]; }

install_compiler() {
    local record=$toolkit/compiler.done wanted="${packages[*]}"
    is_done "$record" "$wanted" && return
    note "installing ${packages[*]}"
    local staging=$toolkit/staging
    rm -rf "$staging" "$record"
    python3 -m pip install --quiet --no-deps --only-binary=:all: --disable-pip-version-check \
        --root-user-action=ignore --target "$staging" "${packages[@]}" >&2
    local unpacked=$staging/nvidia/cu13
    [[ -x $unpacked/bin/nvcc ]] || fail "the packages hold no nvidia/cu13/bin/nvcc"
    for part in bin include lib nvvm; do
        rm -rf "${toolkit:?}/$part"
        mv "$unpacked/$part" "$toolkit/$part"
    done
    # The names that linkers and nvcc look for.
    ln -sfn lib "$toolkit/lib64"
    ln -sfn libcudart.so.13 "$toolkit/lib/libcudart.so"
    rm -rf "$staging"
    echo "$wanted" >"$record"
}

# The folder of the sources of the cudarc that Cargo.lock names.
cudarc_sources() {
    cargo metadata --locked --format-version 1 --features cuda \
        --manifest-path "$project/Cargo.toml" |
        python3 -c '
import json, os, sys
for package in json.load(sys.stdin)["packages"]:
    if package["name"] == "cudarc":
        print(os.path.join(os.path.dirname(package["manifest_path"]), "src"))'
}

# A library to link against in place of one that comes with the driver or the
# full toolkit: every function that cudarc declares, each returning an error.
make_stub() {
    local sources=$1 module=$2 library=$3 version=$4 error=$5
    local code=$toolkit/lib/stubs/$library.c
    grep -oE '^ +fn (cu|nvrtc)[A-Za-z0-9_]+\(' "$sources/$module/sys/mod.rs" |
        sed -E 's/^ +fn (.*)\($/\1/' | sort -u |
        while read -r name; do echo "int $name(void) { return $error; }"; done >"$code"
    [[ -s $code ]] || fail "found no functions of $library in $sources"
    gcc -shared -fPIC -w -fno-builtin -nostdlib "-Wl,-soname,$library.$version" \
        -o "$toolkit/lib/stubs/$library.$version" "$code"
    ln -sfn "$library.$version" "$toolkit/lib/stubs/$library"
    rm "$code"
}

make_stubs() {
    local record=$toolkit/stubs.done sources
    sources=$(cudarc_sources)
    [[ -d $sources ]] || fail "cargo metadata names no sources of cudarc"
    is_done "$record" "$sources" && [[ -d $toolkit/lib/stubs ]] && return
    note "making stand-ins for the driver's libraries"
    rm -rf "$toolkit/lib/stubs" "$record"
    mkdir -p "$toolkit/lib/stubs"
    # The error codes mean: stub library, not initialised, not initialised,
    # not initialised, internal error.
    make_stub "$sources" driver libcuda.so 1 34
    make_stub "$sources" cublas libcublas.so 13 1
    make_stub "$sources" cublaslt libcublasLt.so 13 1
    make_stub "$sources" curand libcurand.so 10 101
    make_stub "$sources" nvrtc libnvrtc.so 13 11
    echo "$sources" >"$record"
}

check_compiler() {
    local record=$toolkit/check.done version
    version=$("$toolkit/bin/nvcc" --version | tail -n 1)
    is_done "$record" "$version" && return
    local trial=$toolkit/trial
    mkdir -p "$trial"
    cat >"$trial/trial.cu" <<'CODE'
#include <cuda_bf16.h>
__global__ void twice(__nv_bfloat16 *x) { x[threadIdx.x] = x[threadIdx.x] + x[threadIdx.x]; }
CODE
    "$toolkit/bin/nvcc" -arch=sm_90 --ptx -o "$trial/trial.ptx" "$trial/trial.cu" >&2 ||
        fail "the installed nvcc does not compile"
    rm -rf "$trial"
    echo "$version" >"$record"
}

need python3
need gcc
need g++
need cargo
mkdir -p "$toolkit"
toolkit=$(cd "$toolkit" && pwd)
if command -v flock >/dev/null; then
    exec 9>"$toolkit/lock"
    flock 9
fi
install_compiler
make_stubs
check_compiler

# bindgen_cuda looks at CUDA_PATH, cudarc at CUDA_HOME too, both for `nvcc` on the
# PATH. Without CUDA_COMPUTE_CAP candle's kernels ask a GPU what to be built for.
cat <<SETTINGS
export CUDA_PATH='$toolkit'
export CUDA_HOME='$toolkit'
export PATH='$toolkit/bin':"\$PATH"
export CUDA_COMPUTE_CAP='${CUDA_COMPUTE_CAP:-90}'
export CUDAFORGE_THREADS='${CUDAFORGE_THREADS:-$(nproc)}'
export NVCC_APPEND_FLAGS='${NVCC_APPEND_FLAGS:---compress-mode=size}'
SETTINGS
