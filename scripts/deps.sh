#!/usr/bin/env bash
# Checks for what a build needs; installs with apt where it may, otherwise
# says in one line what to install.
set -euo pipefail

missing=()
command -v cargo >/dev/null || { echo "Rust is missing: install it from your distribution or with rustup, then run this again." >&2; exit 1; }
command -v c++ >/dev/null || command -v g++ >/dev/null || missing+=(g++)
command -v make >/dev/null || missing+=(make)
command -v go >/dev/null || missing+=(golang-go)

# bindgen loads libclang at build time, and needs clang's own headers beside it.
libclang_found() {
  [ -n "${LIBCLANG_PATH:-}" ] && return 0
  compgen -G '/usr/lib/llvm-*/lib/libclang.so*' >/dev/null && return 0
  compgen -G '/usr/lib/*/libclang.so*' >/dev/null && return 0
  compgen -G '/usr/lib/*/libclang-[0-9]*.so*' >/dev/null && return 0
  compgen -G '/usr/lib64/libclang.so*' >/dev/null && return 0
  return 1
}
libclang_found || missing+=(libclang-dev)

# Only the instruction counts need it, and do without.
if ! command -v valgrind >/dev/null && command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq valgrind; } >/dev/null 2>&1 ||
    echo "valgrind is missing and could not be installed: instructions will not be counted."
fi

[ ${#missing[@]} -eq 0 ] && exit 0
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
  echo "installing: ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "${missing[@]}" >/dev/null
  exit 0
fi
echo "These packages are missing: ${missing[*]}. Install them (Debian and Ubuntu: sudo apt-get install ${missing[*]}), then run this again." >&2
exit 1
