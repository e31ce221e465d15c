#!/usr/bin/env bash
# Plants every bug of conformance/mutants and shows that the test named in its header
# catches it: `scripts/mutants.sh` for all, `scripts/mutants.sh NAME...` for some.
#
# All patches go together into a copy of the sources, which is built once; a running
# program has the one bug that STERNPOST_MUTANT names.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
# The one of the Makefile, also without it: another would build RocksDB again.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/sternpost/target}
export STERNPOST_REFERENCE_BIN=${STERNPOST_REFERENCE_BIN:-$root/conformance/reference/bin}
# Outside of every other workspace, whose settings would add to the copy's, and always
# in one place, so that a second run builds less.
work=${TMPDIR:-/tmp}/sternpost-mutants-$(id -u)
patches=$root/conformance/mutants
logs=$work/logs
export STERNPOST_BIN=$work/sternpost
export STERNPOST_FAILPOINTS_BIN=$work/sternpost-failpoints

# The copy lies one level deeper than the original: cargo tells crates apart by their
# path in the workspace, and must not take a crate of the copy for one of the original.
copy() {
    mkdir -p "$work/next"
    git -C "$root" ls-files -z | (cd "$root" && tar --null --ignore-failed-read -T - -cf - 2>/dev/null) | tar -C "$work/next" -xf -
    git -C "$work/next" init -q
    for patch in "$patches"/*.patch; do
        git -C "$work/next" apply "$patch"
    done
    rm -rf "$work/next/.git" "$work/.cargo"
    mv "$work/next/.cargo" "$work/next/rust-toolchain.toml" "$work/next/Cargo.lock" "$work"
    sed -E '/^members/s/"([a-z/]+)"/"mutated\/\1"/g; s/path = "/path = "mutated\//' "$work/next/Cargo.toml" >"$work/Cargo.toml"
    rm "$work/next/Cargo.toml"
    # What is as it was keeps its time, so that it is not built again.
    (cd "$work/next" && find . -type f) | while read -r file; do
        if cmp -s "$work/next/$file" "$work/mutated/$file"; then
            touch -r "$work/mutated/$file" "$work/next/$file"
        else
            touch "$work/next/$file"
        fi
    done
    rm -rf "$work/mutated"
    mv "$work/next" "$work/mutated"
}

build() {
    servers "$work"
    local server
    for server in "$STERNPOST_BIN" "$STERNPOST_FAILPOINTS_BIN"; do
        cp "$CARGO_TARGET_DIR/debug/${server##*/}" "$server.next"
        mv "$server.next" "$server"
    done
    # The black-box suites are those of the original; this also puts its own servers back.
    servers "$root"
    local command
    while read -r command; do
        (cd "$(place "$command")" && bash -c "$command --no-run")
    done < <(commands)
}

# Those of the sources in a directory. With a test of the whole workspace, Cargo gives
# the dependencies the features that they have in every other build.
servers() {
    (cd "$1" && cargo build --locked --workspace --bin sternpost --test tidy)
    (cd "$1" && cargo build --locked --workspace --features sternpost-server/failpoints --bin sternpost-failpoints --test tidy)
}

# Each command once.
commands() {
    sed -n 's/^Caught-by: [^:]*: //p' "${selected[@]}" | sort -u
}

# In the copy, but for the black-box suites.
place() {
    local test
    test=$root/conformance/tests/$(sed -nE 's/.* --test ([a-z_]+).*/\1/p' <<<"$1")
    if [[ -f $test.rs || -f $test/main.rs ]]; then echo "$root"; else echo "$work"; fi
}

# run LOG COMMAND
run() {
    (cd "$(place "$2")" && timeout 1200 bash -c "$2") >"$logs/$1.log" 2>&1
}

# Only a test that has failed has caught something.
caught() {
    grep -q '^test result: FAILED' "$1"
}

# The first operation that differed, or the first test that failed.
found() {
    grep -m1 -oE '^seed [0-9]+ operation [0-9]+ .*:$' "$1" || grep -m1 -oE '^test [^ ]+ \.\.\. FAILED' "$1" || true
}

mkdir -p "$work"
rm -rf "$logs" "$work/next"
mkdir -p "$logs"

selected=()
for patch in "$patches"/*.patch; do
    name=$(sed -n 's/^Mutant: //p' "$patch")
    [[ -n $name ]] || continue
    if (($# == 0)) || [[ " $* " == *" $name "* ]]; then
        selected+=("$patch")
    fi
done

copy
build

failed=0
printf '%-40s %-16s %-10s %8s  %s\n' mutant rung caught seconds where
line() {
    printf '%-40s %-16s %-10s %8s  %s\n' "$@"
}

# Without a mutant everything passes.
number=0
while read -r command; do
    number=$((number + 1))
    start=$SECONDS
    if run "none-$number" "$command"; then
        line none - passes $((SECONDS - start)) "$command"
    else
        line none - FAILS $((SECONDS - start)) "$command"
        failed=1
    fi
done < <(commands)

for patch in "${selected[@]}"; do
    name=$(sed -n 's/^Mutant: //p' "$patch")
    while IFS= read -r rule; do
        rung=${rule%%: *}
        command=${rule#*: }
        log=$name-${rung// /-}
        start=$SECONDS
        if STERNPOST_MUTANT=$name run "$log" "$command" || ! caught "$logs/$log.log"; then
            line "$name" "$rung" NO $((SECONDS - start)) "$logs/$log.log"
            failed=1
        else
            line "$name" "$rung" yes $((SECONDS - start)) "$(found "$logs/$log.log")"
        fi
    done < <(sed -n 's/^Caught-by: //p' "$patch")
done
exit $failed
