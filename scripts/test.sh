#!/usr/bin/env bash
# Every check there is, in order of how soon it can fail. `scripts/test.sh lint` stops before anything is run.
# The last line says what passed, how many tests that was, and what could not be run here.
set -euo pipefail
cd "$(dirname "$0")/.."
SCOPE=${1:-all}
WHO='make test'
[ "$SCOPE" = all ] || WHO='make lint'

LOG=$(mktemp)
passed=()
not_run=()
step=set-up
at_exit() {
    local status=$?
    rm -f "$LOG"
    [ "$status" = 0 ] || echo "$WHO: FAILED at: $step" >&2
}
trap at_exit EXIT

# check NAME COMMAND...: its output is shown, and kept for counting.
check() {
    step=$1
    printf '== %s\n' "$step"
    "${@:2}" 2>&1 | tee "$LOG"
    passed+=("$step")
}

# count_tests: adds to the last step how many tests its output speaks of, and what they could not do here.
count_tests() {
    local line
    passed[-1]="$(sed -n 's/^test result: ok\. \([0-9]*\) passed.*/\1/p' "$LOG" | awk '{ n += $1 } END { print n + 0 }') ${passed[-1]}"
    while read -r line; do not_run+=("$line"); done < <(sed -n 's/^not run: //p' "$LOG")
}

advisories() {
    step=advisories
    printf '== %s\n' "$step"
    if timeout 120 cargo deny fetch db >"$LOG" 2>&1; then
        check advisories cargo deny --log-level error check --disable-fetch advisories
    else
        not_run+=('advisories (https://github.com/RustSec/advisory-db is out of reach)')
    fi
}

# The tests of the crate `tests` run as root; they are built as whoever calls this.
in_kernel() {
    local runner=CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER
    cargo build --locked --package cellwall-controller --bin cellwall
    scripts/image.sh tests
    # Root's own cache holds no control plane.
    export XDG_CACHE_HOME=${XDG_CACHE_HOME:-$HOME/.cache}
    if [ "$(id -u)" = 0 ]; then
        cargo test --locked --package cellwall-tests
    else
        env "$runner=sudo -E" cargo test --locked --package cellwall-tests
    fi
}

[ "$SCOPE" = lint ] || scripts/need-kernel.sh "$WHO"
scripts/setup.sh all

check format cargo fmt --all --check
check lints cargo clippy --locked --workspace --all-targets -- -D warnings
check 'licences and sources' cargo deny --log-level error check bans licenses sources
advisories
check tidiness cargo xtask tidy
if [ "$SCOPE" = all ]; then
    check 'unit tests' cargo test --locked --workspace --exclude cellwall-tests
    count_tests
    check 'tests in the kernel' in_kernel
    count_tests
fi

printf '\n'
for what in "${not_run[@]}"; do echo "$WHO: not run: $what"; done
# Where changes are let in, a test that did not run is no pass. Advisories depend on the network and not on the change.
for what in "${not_run[@]}"; do
    [ -z "${CI:-}" ] || [[ $what = advisories* ]] || { step="not run in CI: $what"; exit 1; }
done
printf -v all '%s, ' "${passed[@]}"
echo "$WHO: passed: ${all%, }"
