#!/usr/bin/env bash
# Runs the loom model of the engine's waiters, then once more with its second look taken away: that run must fail, and by the
# assertion that guards it.
#   crates/engine/tests/loom.sh
set -euo pipefail
cd "$(dirname "$0")/../../.."
target=${CARGO_TARGET_DIR:-target}/loom
mkdir -p "$target/weak"
target=$(cd "$target" && pwd)
export CARGO_TARGET_DIR=$target
export RUSTFLAGS='--cfg hanbeon_loom' RUST_BACKTRACE=0
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_DEBUG=none CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16

run() { cargo test -q -p hanbeon --test loom --release -- --nocapture "$@"; }

run
wrapper=$target/weak/waiters.sh log=$target/weak/waiters.log
printf '#!/bin/sh\nexec "$@" --cfg '"'"'hanbeon_weak="waiters"'"'"'\n' > "$wrapper"
chmod +x "$wrapper"
if RUSTC_WORKSPACE_WRAPPER=$wrapper run > "$log" 2>&1; then
    echo "twin 'waiters' passed: the model does not see what was taken away" >&2
    exit 1
fi
if ! grep -qF 'lost wake-up' "$log"; then
    echo "twin 'waiters' failed otherwise:" >&2
    cat "$log" >&2
    exit 1
fi
echo "twin 'waiters' fails as it must: lost wake-up"
