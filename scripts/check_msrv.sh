#!/usr/bin/env bash
# Fails when a dependency needs a newer Rust than the `rust-version` of Cargo.toml.
# What the crate's own code uses is checked by clippy's lint incompatible_msrv.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo metadata --locked --format-version 1 --all-features | python3 -c '
import json, sys

def number(version):
    return tuple(int(part) for part in (version + ".0.0").split(".")[:3])

metadata = json.load(sys.stdin)
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
root = metadata["resolve"]["root"]
ours = packages[root]["rust_version"]

# What users build: ordinary and build dependencies, not those of tests.
reached, pending = set(), [root]
while pending:
    package = pending.pop()
    if package in reached:
        continue
    reached.add(package)
    for dependency in nodes[package]["deps"]:
        if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]):
            pending.append(dependency["pkg"])

newer = [packages[id] for id in reached
         if packages[id]["rust_version"] and number(packages[id]["rust_version"]) > number(ours)]
for package in newer:
    print("{name} {version} needs Rust {rust_version}".format(**package))
print(f"{len(reached)} packages checked against Rust {ours}, {len(newer)} need a newer one")
sys.exit(bool(newer))
'
