#!/usr/bin/env bash
# scripts/need-kernel.sh WHO: says at once, not in the middle, that WHO needs root and whether it can have it.
set -euo pipefail
who=$1

fail() {
    printf '%s: %s\n%s: remedy: %s\n' "$who" "$1" "$who" "$2" >&2
    exit 1
}

# CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_BPF by their numbers in <linux/capability.h>.
missing_capabilities() {
    local entry effective
    effective=$((16#$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)))
    for entry in 12=CAP_NET_ADMIN 21=CAP_SYS_ADMIN 39=CAP_BPF; do
        (((effective >> ${entry%%=*}) & 1)) || printf ' %s' "${entry#*=}"
    done
}

as_root=()
if [ "$(id -u)" = 0 ]; then
    missing=$(missing_capabilities)
    [ -z "$missing" ] || fail "root here lacks$missing (network namespaces, programs in the kernel)" \
        'on a container: start it with --privileged, or run this on a machine or in a virtual one'
elif command -v sudo >/dev/null; then
    echo "$who: its steps in the kernel (network namespaces, eBPF programs) run as root, through sudo; the rest as $(id -un)"
    sudo -v || fail 'sudo refused' 'run it as root'
    as_root=(sudo)
else
    fail 'needs root (network namespaces, eBPF programs), and there is no sudo' 'run it as root'
fi

if [ "$(stat -f -c %T /sys/fs/bpf)" != bpf_fs ]; then
    echo "$who: mounting the BPF file system on /sys/fs/bpf (pinned programs and maps live there)"
    "${as_root[@]}" mount -t bpf bpf /sys/fs/bpf ||
        fail 'no BPF file system on /sys/fs/bpf' 'as root: mount -t bpf bpf /sys/fs/bpf'
fi
