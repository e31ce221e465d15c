#!/usr/bin/env bash
# Builds the binary to ship, $CARGO_TARGET_DIR/release/sternpost, with the library of
# RocksDB that the builds for work and tests have compiled already, from the same
# sources with the same flags (docs/adr/0007).
set -euo pipefail
: "${CARGO_TARGET_DIR:?run it by way of: make release}"

library() {
    find "$CARGO_TARGET_DIR"/debug/build -path '*/librocksdb-sys-*/out/librocksdb.a' -printf '%T@ %h\n' 2>/dev/null | sort -n | tail -n 1 | cut -d' ' -f2
}

if [[ -z $(library) ]]; then
    cargo build --locked -p sternpost-server
fi
ROCKSDB_LIB_DIR=$(library)
export ROCKSDB_LIB_DIR ROCKSDB_STATIC=1
exec cargo build --locked --release -p sternpost-server
