#!/usr/bin/env bash
# The black-box suites at full length: 1,000,000 differential operations over 100
# seeds, 300 rounds of kill -9, 50 of power loss, restarts within a second, 300
# flipped bits. `make test` runs shorter ones.
set -euo pipefail
export STERNPOST_SEEDS=${STERNPOST_SEEDS:-1-100}
export STERNPOST_OPS=${STERNPOST_OPS:-10000}
export STERNPOST_ROUNDS=${STERNPOST_ROUNDS:-300}
export STERNPOST_POWER_ROUNDS=${STERNPOST_POWER_ROUNDS:-50}
export STERNPOST_POWER=${STERNPOST_POWER:-required}
export STERNPOST_FLIPS=${STERNPOST_FLIPS:-100}
export STERNPOST_RESTART_MS=${STERNPOST_RESTART_MS:-1000}
exec cargo test --locked -p sternpost-conformance -- --nocapture
