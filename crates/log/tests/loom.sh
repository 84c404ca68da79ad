#!/usr/bin/env bash
# Runs the loom models of hanbeon-log, then each with one ordering or wake-up taken away: those runs must fail, and by the
# assertion that guards it. Only the crates of the workspace are built anew for a twin.
#   crates/log/tests/loom.sh            all of it
#   LOOM_MAX_PREEMPTIONS=4 ...          deeper
set -euo pipefail
cd "$(dirname "$0")/../../.."
target=${CARGO_TARGET_DIR:-target}/loom
mkdir -p "$target/weak"
target=$(cd "$target" && pwd)
export CARGO_TARGET_DIR=$target
export RUSTFLAGS='--cfg hanbeon_loom' RUST_BACKTRACE=0
export LOOM_MAX_PREEMPTIONS=${LOOM_MAX_PREEMPTIONS:-3}
# Link time is worth more here than the last tenth of speed.
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_DEBUG=none CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16

run() { cargo test -q -p hanbeon-log --test loom --release -- --nocapture "$@"; }

echo "== models, at most $LOOM_MAX_PREEMPTIONS preemptions"
run

# twin <name> <model> <text of the assertion that must fail>
twin() {
    local wrapper=$target/weak/$1.sh log=$target/weak/$1.log
    printf '#!/bin/sh\nexec "$@" --cfg '"'"'hanbeon_weak="%s"'"'"'\n' "$1" > "$wrapper"
    chmod +x "$wrapper"
    if RUSTC_WORKSPACE_WRAPPER=$wrapper run "$2" > "$log" 2>&1; then
        echo "twin '$1' passed: the model $2 does not see what was taken away" >&2
        exit 1
    fi
    if ! grep -qF "$3" "$log"; then
        echo "twin '$1' failed otherwise than by '$3':" >&2
        cat "$log" >&2
        exit 1
    fi
    echo "twin '$1' fails as it must: $3"
}

twin publish published 'L7: read below the published end what was not written'
twin group group::two_threads 'an item was left behind in the queue'
twin heir group::two_threads_relieve 'two leaders wrote at once'
twin sync_wakeup futures_are_woken 'lost wake-up: nobody syncs for one who waits'
twin sync_ack group_sync::l1_two 'L1: acknowledged before a sync that covers it'
twin sync_failed group_sync::l9 'L9: acknowledged after a failed sync'
twin roll segments::l7 'L7: a published offset is in no segment of the list'
twin names new_names::l1 'L1: acknowledged in a file whose name is not durable'
twin log_start offsets::t6 "T6: undecided records are between the log's start and the last stable offset"
twin shift offsets::l1 'L1: counted as synced before it was written'
