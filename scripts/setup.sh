#!/usr/bin/env bash
# Installs what the build and the tests need and this machine lacks: Debian packages, two Rust toolchains, the eBPF
# linker; with `all` also what only the checks of `make test` need, Kubernetes among it, with `bench` and `fuzz`
# what only these do. Looks first, so that a second run changes nothing and takes no time. One line for each step. Needs
# rustup, for `all` Go, and root (or sudo) only where a Debian package is missing.
#
#   scripts/setup.sh [build|bench|all|fuzz]    all is the default
set -euo pipefail
cd "$(dirname "$0")/.."

SCOPE=${1:-all}
[[ $SCOPE =~ ^(build|bench|all|fuzz)$ ]] || { echo "usage: scripts/setup.sh [build|bench|all|fuzz]" >&2; exit 2; }

# NIGHTLY, BPF_LINKER, LLVM: the pins of the eBPF object.
# shellcheck source=datapath-ebpf/toolchain
. ./datapath-ebpf/toolchain
STABLE=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
MUSL=$(uname -m)-unknown-linux-musl
CARGO_DENY=0.20.2
CARGO_FUZZ=0.13.2

# package=why. Every one was seen missing on a bare Debian 12.
PACKAGES=(
    "gcc=links every Rust program"
    "libc6-dev=start files and headers of the C library, for the same"
    "musl-tools=compiles what is C in the static program"
    "iproute2=network namespaces and interfaces of demo and tests"
    "llvm-$LLVM-dev=bpf-linker is built against it and needs its library"
    "libpolly-$LLVM-dev=linked by LLVM $LLVM"
)
[ "$SCOPE" != bench ] || PACKAGES+=("nftables=the benchmark measures it, too")
[ "$SCOPE" != fuzz ] || PACKAGES+=("g++=libFuzzer is C++")
if [ "$SCOPE" = all ]; then
    PACKAGES+=(
        "nftables=translates Service addresses in the tests, as a Service proxy does"
        "prometheus=checks the alerting rules, and scrapes an agent in a test"
        "containernetworking-plugins=networks of the pods in the tests' cluster"
        "valgrind=counts the instructions of compiling"
        "iptables=ports of a node that lead to its pods there"
    )
    # Where Docker's own packages are, these two are there under another name, and must stay.
    command -v containerd >/dev/null || PACKAGES+=("containerd=runs the pods of the tests' cluster")
    command -v runc >/dev/null || PACKAGES+=("runc=the same")
fi

say() { printf 'set-up: %s\n' "$*"; }
fail() {
    printf 'set-up: failed: %s\nset-up: remedy: %s\n' "$1" "$2" >&2
    exit 1
}
# Networks fail for a moment; three tries, with a pause.
retry() {
    local try
    for try in 1 2 3; do
        "$@" && return 0
        [ "$try" = 3 ] || { say "that failed; once more in $((try * 5)) s"; sleep $((try * 5)); }
    done
    return 1
}

# Two runs of make at once must not install the same thing twice.
mkdir -p target
exec 9>target/.setup-lock
flock 9

debian_packages() {
    local entry name missing=() as_root=()
    command -v dpkg-query >/dev/null || fail "this is not Debian, and the packages are known by their Debian names only" \
        "install what stands for: ${PACKAGES[*]%%=*}; then run this again with SKIP_PACKAGES=1"
    for entry in "${PACKAGES[@]}"; do
        name=${entry%%=*}
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] && continue
        say "package $name is missing (${entry#*=})"
        missing+=("$name")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || fail "packages need root, and there is no sudo" "as root: apt-get install ${missing[*]}"
        as_root=(sudo)
    fi
    say "installing ${#missing[@]} Debian packages"
    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Acquire::Retries=3 -o Dpkg::Use-Pty=0)
    retry "${apt[@]}" update >&2 || fail "apt-get update" "look at the lines above: network, or a source in /etc/apt"
    retry "${apt[@]}" install --no-install-recommends "${missing[@]}" >/dev/null ||
        fail "apt-get install ${missing[*]}" "LLVM $LLVM is in the security suite of Debian 12; elsewhere see https://apt.llvm.org"
}

# toolchain_lacks TOOLCHAIN COMPONENT...: true when one of them is not there.
toolchain_lacks() {
    local have component
    have=$(rustup component list --installed --toolchain "$1" 2>/dev/null) || return 0
    for component in "${@:2}"; do
        grep -q "^$component" <<<"$have" || return 0
    done
    return 1
}

toolchains() {
    if ! command -v rustup >/dev/null; then
        [ -z "${SUDO_USER:-}" ] || fail "root has no rustup on its PATH" "run make as $SUDO_USER: it calls sudo where the kernel asks for it"
        fail "rustup is not on PATH" "install it as https://rustup.rs says, then open a new shell"
    fi
    if toolchain_lacks "$STABLE" rustc cargo clippy rustfmt "rust-std-$MUSL"; then
        say "installing Rust $STABLE with clippy, rustfmt and $MUSL (the static binary)"
        retry rustup -q toolchain install "$STABLE" --profile minimal -c clippy -c rustfmt -t "$MUSL" --no-self-update >&2 ||
            fail "rustup toolchain install $STABLE" "is https://static.rust-lang.org within reach? then run this again"
    fi
    if toolchain_lacks "$NIGHTLY" rustc cargo rust-src; then
        say "installing Rust $NIGHTLY with rust-src (the eBPF object)"
        retry rustup -q toolchain install "$NIGHTLY" --profile minimal -c rust-src --no-self-update >&2 ||
            fail "rustup toolchain install $NIGHTLY" "is https://static.rust-lang.org within reach? then run this again"
    fi
}

# install CRATE VERSION ARGUMENT...: a program from crates.io, for this machine whatever the caller builds for.
install() {
    retry env -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS -u CARGO_BUILD_TARGET -u CARGO_TARGET_DIR -u RUSTC_WORKSPACE_WRAPPER \
        rustup run "$STABLE" cargo install "$1" --version "$2" --locked --force -q "${@:3}" >&2
}

bpf_linker() {
    local llvm=/usr/lib/llvm-$LLVM
    [ "$(bpf-linker --version 2>/dev/null)" != "bpf-linker $BPF_LINKER" ] || return 0
    say "building bpf-linker $BPF_LINKER against LLVM $LLVM (links the eBPF object; about a minute on two cores)"
    LLVM_PREFIX=$llvm LLVM_SYS_221_PREFIX=$llvm install bpf-linker "$BPF_LINKER" --no-default-features --features "llvm-$LLVM" ||
        fail "bpf-linker $BPF_LINKER does not build" "is llvm-$LLVM-dev whole? $llvm/bin/llvm-config --version should answer"
}

# cargo_tool NAME VERSION WHAT: a sub-command of cargo, of exactly this version.
cargo_tool() {
    [ "$("$1" "${1#cargo-}" --version 2>/dev/null)" != "$1 $2" ] || return 0
    say "building $1 $2 ($3; some minutes, once)"
    # What it does itself takes seconds: built fast rather than fast.
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        install "$1" "$2" || fail "$1 $2 does not build" "look at the lines above"
}

export PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
[ -n "${SKIP_PACKAGES:-}" ] || debian_packages
toolchains
bpf_linker
if [ "$SCOPE" = all ]; then
    cargo_tool cargo-deny "$CARGO_DENY" 'licences, sources and advisories of the dependencies'
    # Kubernetes for the tests, from source; says what it builds.
    scripts/control-plane.sh >/dev/null
fi
[ "$SCOPE" != fuzz ] || cargo_tool cargo-fuzz "$CARGO_FUZZ" 'libFuzzer for Rust'
say "complete ($SCOPE)"
