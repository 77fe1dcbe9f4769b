#!/usr/bin/env bash
# Fuzzes every target of fuzz/, or those named: FUZZ_SECONDS for each (60 is the default), beginning with the cases that
# are kept under fuzz/cases and with what earlier runs found worth keeping. One line for each target at the end; fails
# where something was found, and says where it lies.
#
#   scripts/fuzz.sh [frames|manifests|compile ...]
set -euo pipefail
cd "$(dirname "$0")/.."

SECONDS_EACH=${FUZZ_SECONDS:-60}
[[ $SECONDS_EACH =~ ^[1-9][0-9]*$ ]] || { echo "make fuzz: FUZZ_SECONDS=$SECONDS_EACH is no number of seconds" >&2; exit 2; }
TARGETS=("$@")
[ $# -gt 0 ] || TARGETS=(frames manifests compile)
for target in "${TARGETS[@]}"; do
    [ -f "fuzz/fuzz_targets/$target.rs" ] || { echo "make fuzz: there is no target $target in fuzz/fuzz_targets" >&2; exit 2; }
done

scripts/setup.sh fuzz
# NIGHTLY: instruments are a nightly's.
# shellcheck source=datapath-ebpf/toolchain
. ./datapath-ebpf/toolchain
WORK=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
# No sanitizer: what is fuzzed is safe Rust. Overflows and assertions are looked for (see its profile): a panic is a find.
FUZZ=(rustup run "$NIGHTLY" cargo fuzz)
OPTIONS=(--fuzz-dir fuzz --sanitizer none --target-dir "$WORK")
"${FUZZ[@]}" build "${OPTIONS[@]}"

summary=()
failed=()
for target in "${TARGETS[@]}"; do
    corpus=$WORK/corpus/$target
    found=$WORK/found/$target
    log=$WORK/$target.log
    mkdir -p "$corpus" "$found"
    before=$(find "$found" -type f | wc -l)
    printf '== %s, %s s\n' "$target" "$SECONDS_EACH"
    status=0
    # Ten seconds for one input, 2 GiB for all: no bytes of this length may cost more.
    "${FUZZ[@]}" run "${OPTIONS[@]}" "$target" "$corpus" "fuzz/cases/$target" -- -max_total_time="$SECONDS_EACH" \
        -timeout=10 -rss_limit_mb=2048 -max_len=4096 -print_final_stats=1 -artifact_prefix="$found/" >"$log" 2>&1 || status=$?
    new=$(($(find "$found" -type f | wc -l) - before))
    executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    reached=$(grep -o 'cov: [0-9]* ft: [0-9]*' "$log" | tail -n 1)
    summary+=("$(printf '%-10s %s executions, %s, %s new findings' "$target" "${executions:-?}" "${reached:-cov: ? ft: ?}" "$new")")
    if [ "$status" != 0 ]; then
        failed+=("$target")
        tail -n 40 "$log"
    fi
done

printf '\n'
for line in "${summary[@]}"; do echo "make fuzz: $line"; done
[ ${#failed[@]} -gt 0 ] || exit 0
for target in "${failed[@]}"; do
    echo "make fuzz: FAILED: $target: the whole log is $WORK/$target.log, the input is in $WORK/found/$target" >&2
    echo "make fuzz: again: ${FUZZ[*]} run ${OPTIONS[*]} $target $WORK/found/$target/NAME" >&2
    echo "make fuzz: mended, it stays as fuzz/cases/$target/what_it_showed, which make test runs too" >&2
done
exit 1
