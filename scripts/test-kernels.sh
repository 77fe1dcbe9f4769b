#!/usr/bin/env bash
# Runs the tests of the datapath, and an agent end to end, on other kernels: Debian's 5.10, 6.1 and 6.12, each booted
# under QEMU without KVM from an initramfs of busybox, iproute2 and static programs; and on the kernel of this machine, as
# root, with the same programs. Prints one row of a table for each, and writes docs/kernels.md when it ran whole. Needs
# Debian and about 2 GB; kernels are kept in .cache/kernels.
#
#   KERNELS='6.1 host' TESTS=ebpf_loads scripts/test-kernels.sh     some only; writes no page
#   AT_ONCE=3 scripts/test-kernels.sh                               so many at once (1), 2 GB of memory each
set -euo pipefail
cd "$(dirname "$0")/.."

ALL_KERNELS='5.10 6.1 6.12 host'
# What is exact, not what is timed, and fits in a quarter of an hour where nothing else runs. In TESTS, TEST=FILTER..., the
# filters separated by commas (none: all of it).
ALL_TESTS='ebpf_loads maps links attach=case_ ways=case_27_routed'
KERNELS=${KERNELS:-$ALL_KERNELS}
read -ra TESTS <<<"${TESTS:-$ALL_TESTS}"
AT_ONCE=${AT_ONCE:-1}
PAGE=docs/kernels.md
declare -A SUITES=([5.10]=bullseye [6.1]=bookworm [6.12]=trixie)
MIRROR=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
MUSL=x86_64-unknown-linux-musl
CACHE=$PWD/.cache/kernels
# Longest boot with all tests, in seconds: without KVM everything takes ten to thirty times as long.
PATIENCE=${PATIENCE:-3600}
# How much longer the tests wait there than elsewhere.
SLOWER=20
# Modules in the order in which they need one another.
MODULES=(llc stp bridge veth dummy macvlan sch_ingress cls_bpf act_gact cls_matchall sch_netem)

say() { printf 'test-kernels: %s\n' "$*"; }
fail() {
    printf 'test-kernels: failed: %s\n' "$*" >&2
    exit 1
}

packages() {
    local missing=() package
    for package in qemu-system-x86 busybox-static cpio xz-utils iproute2; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    local as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo)
    say "installing ${missing[*]}"
    "${as_root[@]}" apt-get -qq update >/dev/null
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends "${missing[@]}" >/dev/null
}

# kernel VERSION: prints the directory of that kernel, fetched where it is not there yet.
kernel() {
    local version=$1 suite=${SUITES[$1]} name apt=$CACHE/apt-$1
    local have=("$CACHE/$version"/boot/vmlinuz-*)
    if [ ! -e "${have[0]}" ]; then
        mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial" "$CACHE/$version"
        echo "deb [signed-by=$KEYRING] $MIRROR $suite main" >"$apt/sources.list"
        local options=(-o "Dir::Etc::sourcelist=$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null
            -o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o Dir::State::status=/dev/null)
        apt-get -qq "${options[@]}" update >&2
        # The signed image; its name has the package's version in it.
        name=$(apt-cache "${options[@]}" search --names-only "^linux-image-$version[.0-9+deb-]*-cloud-amd64\$" |
            cut -d ' ' -f 1 | sort -V | tail -n 1)
        [ -n "$name" ] || fail "no kernel $version in $suite"
        (cd "$apt" && apt-get -qq "${options[@]}" download "$name" >&2)
        dpkg -x "$apt/$name"_*.deb "$CACHE/$version"
    fi
    echo "$CACHE/$version"
}

# with_libraries DIRECTORY PROGRAM...: copies programs and what they are linked to.
with_libraries() {
    local into=$1 program file
    shift
    for program in "$@"; do
        file=$(command -v "$program")
        cp "$file" "$into/bin/$program"
        ldd "$file" | grep -o '/[^ ]*' | while read -r file; do
            mkdir -p "$into$(dirname "$file")"
            cp -L "$file" "$into$file"
        done
    done
}

# build: the static test programs, by name in $CACHE/programs.
build() {
    local names=() entry out
    for entry in "${TESTS[@]}"; do names+=(--test "${entry%%=*}"); done
    rm -rf "$CACHE/programs" && mkdir -p "$CACHE/programs"
    export CARGO_PROFILE_DEV_DEBUG=0
    cargo build --locked --target "$MUSL" --package cellwall-controller --bin cellwall
    out=$(cargo test --locked --no-run --target "$MUSL" --package cellwall-tests "${names[@]}" --message-format json-render-diagnostics)
    for entry in "${TESTS[@]}"; do
        grep -o "\"executable\":\"[^\"]*/deps/${entry%%=*}-[0-9a-f]*\"" <<<"$out" | tail -n 1 | cut -d '"' -f 4 |
            xargs -I{} cp {} "$CACHE/programs/${entry%%=*}"
        [ -x "$CACHE/programs/${entry%%=*}" ] || fail "no test program ${entry%%=*}"
    done
    cp "${CARGO_TARGET_DIR:-target}/$MUSL/debug/cellwall" "$CACHE/programs/cellwall"
}

# run_all DIRECTORY: the lines of a script that runs every test program.
run_all() {
    local entry filter
    for entry in "${TESTS[@]}"; do
        filter=${entry#"${entry%%=*}"}
        echo "echo 'begin: ${entry%%=*}'; $1/${entry%%=*} --test-threads=1 --nocapture ${filter:+$(tr ',' ' ' <<<"${filter#=}")} 2>&1"
        echo "echo \"end: ${entry%%=*} \$?\""
    done
}

# initramfs VERSION DIRECTORY: writes $CACHE/VERSION.cpio.gz.
initramfs() {
    local version=$1 from=$2 root=$CACHE/root-$1 module file
    rm -rf "$root" && mkdir -p "$root"/{bin,proc,sys,dev,run,tmp,modules,tests}
    cp "$(command -v busybox)" "$root/bin/busybox"
    for file in sh mount insmod poweroff sync sleep uname mkdir cat ls grep; do ln -s busybox "$root/bin/$file"; done
    with_libraries "$root" ip tc nsenter
    for module in "${MODULES[@]}"; do
        file=$(find "$from/" -name "$module.ko" -o -name "$module.ko.xz" | head -n 1)
        [ -n "$file" ] || continue # built in
        case $file in
        *.xz) xz -dc "$file" >"$root/modules/$module.ko" ;;
        *) cp "$file" "$root/modules/$module.ko" ;;
        esac
    done
    cp "$CACHE/programs"/* "$root/tests/"
    {
        echo '#!/bin/sh'
        echo "export PATH=/bin CELLWALL_BIN=/tests/cellwall RUST_BACKTRACE=0 HOME=/tmp CELLWALL_TEST_PATIENCE=$SLOWER"
        echo 'mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev'
        echo 'mount -t tmpfs run /run; mount -t tmpfs tmp /tmp; mkdir -p /run/netns /sys/fs/bpf'
        echo 'mount -t bpf bpf /sys/fs/bpf; ip link set lo up'
        for module in "${MODULES[@]}"; do echo "[ ! -e /modules/$module.ko ] || insmod /modules/$module.ko"; done
        echo 'echo "kernel: $(uname -r)"'
        run_all /tests
        echo 'sync; poweroff -f'
    } >"$root/init"
    chmod +x "$root/init"
    (cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$CACHE/$version.cpio.gz"
}

# boot VERSION DIRECTORY: the console goes to $CACHE/VERSION.log.
boot() {
    local version=$1 image=("$2"/boot/vmlinuz-*) try
    # QEMU 7.2 emulates cmpxchg16b wrongly, of which newer kernels die sooner or later: none is offered.
    for try in 1 2 3; do
        timeout "$PATIENCE" qemu-system-x86_64 -accel tcg,thread=multi -cpu qemu64,-cx16 -m 2048 -smp 2 -kernel "${image[0]}" \
            -initrd "$CACHE/$version.cpio.gz" -append 'console=ttyS0 quiet panic=-1' -nographic -no-reboot -nodefaults \
            -serial "file:$CACHE/$version.console" </dev/null || true
        ! grep -aq 'kernel: ' "$CACHE/$version.console" || break
        say "Linux $version did not boot (try $try)"
    done
    tr -d '\r' <"$CACHE/$version.console" >"$CACHE/$version.log"
}

# here: the same on this machine's kernel.
here() {
    local as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo -E)
    scripts/need-kernel.sh test-kernels
    {
        echo "kernel: $(uname -r)"
        run_all "$CACHE/programs" | CELLWALL_BIN=$CACHE/programs/cellwall RUST_BACKTRACE=0 "${as_root[@]}" bash
    } >"$CACHE/host.log" 2>&1
}

# Features that the programs use, and those that they could; each as `feature: NAME: yes|no` in the log.
FEATURES=('TCX' 'clsact' 'coarse clock' 'ring buffer' 'LRU hash' 'longest-prefix trie' 'bpf_loop')

# row VERSION: one line of the table.
row() {
    local log=$CACHE/$1.log release verified entry feature has result passed failed=0
    release=$(sed -n 's/.*kernel: //p' "$log" | head -n 1)
    verified=$(sed -n 's/.*\(from_pod\|to_pod\): \([0-9]*\) instructions verified.*/\2/p' "$log" | paste -sd / -)
    printf '| %s ' "${release:-$1: did not boot}"
    for feature in "${FEATURES[@]}"; do
        has=$(sed -n "s/.*feature: $feature: //p" "$log" | head -n 1)
        printf '| %s ' "${has:-not told}"
    done
    result=
    for entry in "${TESTS[@]}"; do
        entry=${entry%%=*}
        passed=$(sed -n "/^begin: $entry\$/,/^end: $entry /p" "$log" | sed -n 's/^test result: .* \([0-9]*\) passed; \([0-9]*\) failed.*/\1 passed, \2 failed/p' | head -n 1)
        grep -q "^end: $entry 0\$" "$log" || failed=1
        result+="${result:+; }$entry: ${passed:-did not end}"
    done
    printf '| %s | %s |\n' "$result" "${verified:-not told}"
    return "$failed"
}

# page ROW...: docs/kernels.md.
page() {
    local feature not_run
    {
        echo '# Kernels'
        echo
        echo "Made by \`make test-kernels\` on $(date -u +%Y-%m-%d); not written by hand. It boots Debian's kernels under QEMU, and asks"
        echo "the machine's own one, and runs on each the tests of the datapath that are exact, and an agent end to end (\`ways\`:"
        echo 'routed pods, both families, in every direction). On a kernel without TCX the programs are attached by clsact; on'
        echo 'one with TCX both ways are tested. The instructions are what the verifier walked through, of the program from and to a'
        echo "pod; the limit is 1,000,000, kernels before 5.16 do not tell. \`bpf_loop\` is not used by the programs."
        echo
        printf '| Linux '
        printf '| %s ' "${FEATURES[@]}"
        echo '| tests | instructions |'
        printf '|---'
        printf '|---%.0s' "${FEATURES[@]}"
        echo '|---|---|'
        printf '%s\n' "$@"
        echo
        echo 'Not run, by kernel:'
        echo
        for version in $KERNELS; do
            not_run=$(sed -n 's/^not run: //p' "$CACHE/$version.log" | sort -u | paste -sd ';' - | sed 's/;/; /g')
            echo "- $(sed -n 's/.*kernel: //p' "$CACHE/$version.log" | head -n 1): ${not_run:-nothing}"
        done
    } >"$PAGE"
    say "$PAGE is written"
}

# one VERSION: everything about one kernel.
one() {
    local directory
    if [ "$1" = host ]; then
        here
    else
        directory=$(kernel "$1")
        initramfs "$1" "$directory"
        boot "$1" "$directory"
    fi
    grep -E '^test .* FAILED|panicked|instructions verified' "$CACHE/$1.log" || true
}

packages
scripts/setup.sh build
build
for version in $KERNELS; do
    while [ "$(jobs -rp | wc -l)" -ge "$AT_ONCE" ]; do wait -n || true; done
    say "Linux $version"
    one "$version" &
done
wait
status=0
rows=()
for version in $KERNELS; do
    line=$(row "$version") || status=1
    rows+=("$line")
    echo "$line"
done
[ "$KERNELS" != "$ALL_KERNELS" ] || [ "${TESTS[*]}" != "$ALL_TESTS" ] || page "${rows[@]}"
exit "$status"
