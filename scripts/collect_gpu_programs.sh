#!/usr/bin/env bash
# Builds programs with the feature `cuda` and collects them, stripped and compressed, in a folder that
# can be copied to a machine with a GPU but without Rust or nvcc:
#
#     scripts/collect_gpu_programs.sh FOLDER [KIND:NAME...]
#
# The default are the tests and benchmarks of both convolutions and the self-test. On the other
# machine, with tests/data beside:
#
#     gunzip FOLDER/*.gz
#     FOLDER/self_test --device cuda
#     FLASHFFTCONV_REQUIRE_GPU=1 FLASHFFTCONV_TEST_DATA=tests/data FOLDER/conv gpu cuda
#     FLASHFFTCONV_REQUIRE_GPU=1 FOLDER/depthwise_reference gpu
#     FOLDER/gpu --inference --json gpu.json --svg gpu.svg
set -euo pipefail
folder=$(realpath -m "${1:?expected a folder}")
shift
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p "$folder"
programs="test:conv test:depthwise_reference bench:gpu bench:depthwise_gpu example:self_test"
for program in "${@:-$programs}"; do
    for kind_and_name in $program; do
        kind=${kind_and_name%%:*} name=${kind_and_name#*:}
        executable=$(
            cargo build --release --features cuda --message-format=json "--$kind" "$name" |
                python3 -c '
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["target"]["name"] == sys.argv[1]:
        print(message["executable"])' "$name"
        )
        strip --strip-all -o "$folder/$name" "$executable"
        chmod +x "$folder/$name"
        gzip --force --best "$folder/$name"
        ls -lh "$folder/$name.gz"
    done
done
