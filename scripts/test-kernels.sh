#!/usr/bin/env bash
# Runs the tests of the datapath on other kernels: Debian's 5.10, 6.1 and 6.12, each booted under QEMU without KVM from
# an initramfs of busybox, iproute2 and static test programs. Prints one row of a table for each. Needs Debian and about
# 2 GB; kernels are kept in .cache/kernels. `KERNELS=6.1 TESTS=ebpf_loads scripts/test-kernels.sh` runs some only.
set -euo pipefail
cd "$(dirname "$0")/.."

KERNELS=${KERNELS:-5.10 6.1 6.12}
declare -A SUITES=([5.10]=bullseye [6.1]=bookworm [6.12]=trixie)
MIRROR=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
MUSL=x86_64-unknown-linux-musl
CACHE=$PWD/.cache/kernels
# Longest boot with all tests, in seconds: without KVM everything takes ten to thirty times as long.
PATIENCE=${PATIENCE:-1500}
# Modules in the order in which they need one another.
MODULES=(llc stp bridge veth dummy macvlan sch_ingress cls_bpf act_gact cls_matchall)
# What is exact, not what is timed. In TESTS, TEST=FILTER..., the filters separated by commas (none: all of it).
read -ra TESTS <<<"${TESTS:-ebpf_loads maps links attach ways=case_27}"

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

# initramfs VERSION DIRECTORY: writes $CACHE/VERSION.cpio.gz.
initramfs() {
    local version=$1 from=$2 root=$CACHE/root-$1 module file entry filter
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
        echo 'export PATH=/bin CELLWALL_BIN=/tests/cellwall RUST_BACKTRACE=0 HOME=/tmp'
        echo 'mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev'
        echo 'mount -t tmpfs run /run; mount -t tmpfs tmp /tmp; mkdir -p /run/netns /sys/fs/bpf'
        echo 'mount -t bpf bpf /sys/fs/bpf; ip link set lo up'
        for module in "${MODULES[@]}"; do echo "[ ! -e /modules/$module.ko ] || insmod /modules/$module.ko"; done
        echo 'echo "kernel: $(uname -r)"; ! grep -q " tcx_prog_attach" /proc/kallsyms || echo "mechanism: TCX"'
        for entry in "${TESTS[@]}"; do
            filter=${entry#"${entry%%=*}"}
            echo "echo 'begin: ${entry%%=*}'; /tests/${entry%%=*} --test-threads=1 --nocapture ${filter:+$(tr ',' ' ' <<<"${filter#=}")} 2>&1"
            echo "echo \"end: ${entry%%=*} \$?\""
        done
        echo 'sync; poweroff -f'
    } >"$root/init"
    chmod +x "$root/init"
    (cd "$root" && find . | cpio -o -H newc --quiet | gzip -1) >"$CACHE/$version.cpio.gz"
}

# boot VERSION DIRECTORY: the console goes to $CACHE/VERSION.log.
boot() {
    local version=$1 image=("$2"/boot/vmlinuz-*) try
    # Without KVM a newer kernel now and then dies while it boots; what dies later is told.
    for try in 1 2 3; do
        timeout "$PATIENCE" qemu-system-x86_64 -accel tcg,thread=multi -m 2048 -smp 2 -kernel "${image[0]}" \
            -initrd "$CACHE/$version.cpio.gz" -append 'console=ttyS0 quiet panic=-1' -nographic -no-reboot -nodefaults \
            -serial "file:$CACHE/$version.console" </dev/null || true
        ! grep -aq 'kernel: ' "$CACHE/$version.console" || break
        say "Linux $version did not boot (try $try)"
    done
    tr -d '\r' <"$CACHE/$version.console" >"$CACHE/$version.log"
    grep -E '^test .* FAILED|panicked|instructions verified' "$CACHE/$version.log" || true
}

# row VERSION: one line of the table.
row() {
    local log=$CACHE/$1.log release attach verified entry result passed failed=0
    release=$(sed -n 's/.*kernel: //p' "$log")
    attach='clsact'
    ! grep -q '^mechanism: TCX' "$log" || attach='TCX, clsact'
    verified=$(sed -n 's/.*\(from_pod\|to_pod\): \([0-9]*\) instructions verified.*/\2/p' "$log" | paste -sd / -)
    result=
    for entry in "${TESTS[@]}"; do
        entry=${entry%%=*}
        passed=$(sed -n "/^begin: $entry\$/,/^end: $entry /p" "$log" | sed -n 's/^test result: .* \([0-9]*\) passed; \([0-9]*\) failed.*/\1 passed, \2 failed/p' | head -n 1)
        grep -q "^end: $entry 0\$" "$log" || failed=1
        result+="${result:+; }$entry: ${passed:-did not end}"
    done
    echo "| ${release:-$1: did not boot} | $attach | $result | ${verified:-not told} |"
    return "$failed"
}

packages
scripts/setup.sh build
build
status=0
rows=()
for version in $KERNELS; do
    say "Linux $version"
    directory=$(kernel "$version")
    initramfs "$version" "$directory"
    boot "$version" "$directory"
    line=$(row "$version") || status=1
    rows+=("$line")
    echo "$line"
done
exit "$status"
