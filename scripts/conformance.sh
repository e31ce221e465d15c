#!/usr/bin/env bash
# The black-box suites at full length: 1,000,000 differential operations over 100
# seeds, 300 rounds of kill -9, 50 of power loss, restarts within a second, 300
# flipped bits, 50 full stops of a cluster, 50 dead leaders, a learner of a
# gigabyte, half an hour of robustness.
# `make test` runs shorter ones.
set -euo pipefail
export STERNPOST_SEEDS=${STERNPOST_SEEDS:-1-100}
export STERNPOST_OPS=${STERNPOST_OPS:-10000}
export STERNPOST_ROUNDS=${STERNPOST_ROUNDS:-300}
export STERNPOST_POWER_ROUNDS=${STERNPOST_POWER_ROUNDS:-50}
export STERNPOST_POWER=${STERNPOST_POWER:-required}
export STERNPOST_NETWORK=${STERNPOST_NETWORK:-required}
export STERNPOST_FLIPS=${STERNPOST_FLIPS:-100}
export STERNPOST_RESTART_MS=${STERNPOST_RESTART_MS:-1000}
export STERNPOST_CLUSTER_ROUNDS=${STERNPOST_CLUSTER_ROUNDS:-50}
export STERNPOST_LEARNER_KEYS=${STERNPOST_LEARNER_KEYS:-1000000}
export STERNPOST_FAILOVERS=${STERNPOST_FAILOVERS:-50}
export STERNPOST_ROBUSTNESS_SECS=${STERNPOST_ROBUSTNESS_SECS:-1800}
export STERNPOST_FAULTS=${STERNPOST_FAULTS:-7}
exec cargo test --locked -p sternpost-conformance -- --nocapture
