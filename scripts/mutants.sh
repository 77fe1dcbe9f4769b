#!/usr/bin/env bash
# Changes the packet path and the policy core in one place at a time, as .cargo/mutants.toml says where, and looks
# whether a test tells. Fails on a change that no test tells of unless docs/mutants.md says why none can or need.
# Hours on two cores; what was done is kept under target/mutants, and MUTANTS_RESUME=1 goes on from there.
#
#   scripts/mutants.sh [ARGUMENTS OF CARGO MUTANTS, such as --file 'policy/src/evaluate/**' or --shard 0/8]
set -euo pipefail
cd "$(dirname "$0")/.."
EXPLAINED=docs/mutants.md
scripts/setup.sh mutants

WORK=${CARGO_TARGET_DIR:-$PWD/target}/mutants
# Each mutant is built in a copy of the tree with a target directory of its own; and a test that fails has said enough.
export CARGO_PROFILE_DEV_DEBUG=0 PROPTEST_CASES=${PROPTEST_CASES:-64} PROPTEST_MAX_SHRINK_ITERS=0
unset CARGO_TARGET_DIR

# mutants CRATE ARGUMENT...: status 2 and 3 are mutants that lived or took too long, which are looked at below.
mutants() {
    local crate=$1 out=$WORK/$1 status=0 again=()
    [ -n "${MUTANTS_RESUME:-}" ] || rm -rf "$out"
    [ ! -d "$out/mutants.out" ] || again=(--iterate)
    mkdir -p "$out"
    printf '== mutants of %s\n' "$crate"
    nice -n 19 cargo mutants --package "$crate" --output "$out" "${again[@]}" --cargo-arg=--locked "${@:2}" || status=$?
    case $status in 0 | 2 | 3) ;; *) exit "$status" ;; esac
}

# The packet path against its own tests, which hold it against the corpus of frames; the policy against all of its own.
mutants cellwall-datapath-ebpf --all-features --cargo-arg=--lib "$@"
mutants cellwall-policy --cargo-arg=--lib --cargo-arg=--tests "$@"

count() { cat "$WORK"/*/mutants.out/"$1.txt" 2>/dev/null | wc -l; }
# FILE: CHANGE in FUNCTION, without line and column, which move with every edit.
lived=$(cat "$WORK"/*/mutants.out/missed.txt | sed -E 's/:[0-9]+:[0-9]+: /: /' | sort | uniq -c | sed -E 's/^ +//')
# The same, how often it may live, of the list items `- (COUNT) `CHANGE in FUNCTION`: WHY` below `## FILE`.
known=$(awk '/^## / { file = $2 } match($0, /^- \([0-9]+\) `[^`]*`: ./) {
    split($0, part, "`"); split(part[1], of, "[()]"); print of[2], file ": " part[2] }' "$EXPLAINED")
unexplained=$(awk 'NR == FNR { times = $1; sub(/^[0-9]+ /, ""); may[$0] = times; next }
    { times = $1; sub(/^[0-9]+ /, ""); if (times > may[$0] + 0) print times - may[$0] " of " $0 }' <(printf '%s\n' "$known") <(printf '%s\n' "$lived"))

printf '\nmake mutants: %s killed, %s killed by time, %s do not build, %s found dead earlier, %s lived\n' \
    "$(count caught)" "$(count timeout)" "$(count unviable)" "$(count previously_caught)" "$(count missed)"
if [ -n "$unexplained" ]; then
    printf 'make mutants: FAILED: no test tells of, and %s does not explain:\n%s\n' "$EXPLAINED" "$unexplained" >&2
    exit 1
fi
echo "make mutants: all that lived are explained in $EXPLAINED"
