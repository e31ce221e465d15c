#!/usr/bin/env bash
# Builds everything, then runs every test; times the two apart.
set -euo pipefail

start=$(date +%s)
make build
(cd conformance/reference && go build -o bin/ tool)
built=$(date +%s)
cargo test --locked --workspace
tested=$(date +%s)
printf 'build: %d s, tests: %d s, together: %d s\n' $((built - start)) $((tested - built)) $((tested - start))
