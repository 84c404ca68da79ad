#!/usr/bin/env bash
# Runs the loom models of the engine's waiters, of its group members' seats and of its syncs, then each once more with what
# it rests on taken away: that run must fail, and by the assertion that guards it.
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
for twin in waiters seats dirty asked; do
    wrapper=$target/weak/$twin.sh log=$target/weak/$twin.log
    printf '#!/bin/sh\nexec "$@" --cfg '"'"'hanbeon_weak="%s"'"'"'\n' "$twin" > "$wrapper"
    chmod +x "$wrapper"
    if RUSTC_WORKSPACE_WRAPPER=$wrapper run > "$log" 2>&1; then
        echo "twin '$twin' passed: the model does not see what was taken away" >&2
        exit 1
    fi
    case $twin in
        waiters) says='lost wake-up' ;;
        seats) says='lost nudge' ;;
        dirty) says='lost interval' ;;
        asked) says='lost sync' ;;
    esac
    if ! grep -qF "$says" "$log"; then
        echo "twin '$twin' failed otherwise:" >&2
        cat "$log" >&2
        exit 1
    fi
    echo "twin '$twin' fails as it must: $says"
done
