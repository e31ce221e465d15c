#!/usr/bin/env bash
# Builds everything, then runs every test; times the two apart.
set -euo pipefail

start=$(date +%s)
cargo build --locked --workspace --all-targets
# With the test, Cargo gives the dependencies the same features as above, and builds none of them again.
cargo build --locked --workspace --features sternpost-server/failpoints --bin sternpost-failpoints --test tidy
(cd conformance/reference && go build -o bin/ tool)
built=$(date +%s)
cargo test --locked --workspace
tested=$(date +%s)
printf 'build: %d s, tests: %d s, together: %d s\n' $((built - start)) $((tested - built)) $((tested - start))
