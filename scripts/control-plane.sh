#!/usr/bin/env bash
# Builds the Kubernetes control plane that the tests run against, from the Go modules that tests/control-plane pins, into
# a cache outside the checkout. Looks first: what is there takes no time. Prints one line a program on standard output,
# `NAME=PATH`; progress and refusals go to standard error. Needs Go 1.24 or later, and GOPROXY as the environment has it.
#
#   scripts/control-plane.sh [NAME...]    all of them is the default: etcd kube-apiserver kubectl
#                                         kube-controller-manager kube-scheduler kubelet kube-proxy helm
#
# KUBEBUILDER_ASSETS=DIR: a program that lies in DIR is taken from there and not built.
set -euo pipefail
cd "$(dirname "$0")/../tests/control-plane"

NEED_GO=24 # the second number: what kubernetes' own go.mod asks for
# In the order in which one has use of them.
ALL=(etcd kube-apiserver kubectl kube-controller-manager kube-scheduler kubelet kube-proxy helm)
[ $# -gt 0 ] || set -- "${ALL[@]}"

# pinned MODULE [FILE]: its version in go.mod.
pinned() { awk -v module="$1" '$1 == module && $2 ~ /^v/ { print $2 }' "${2:-go.mod}"; }
VERSION=$(pinned k8s.io/kubernetes)
ETCD=$(pinned go.etcd.io/etcd/server/v3)
HELM=$(pinned helm.sh/helm/v3 helm/go.mod) # a module of its own
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/cellwall
ROOM=$CACHE/control-plane-$VERSION-etcd-$ETCD

say() { printf 'control plane: %s\n' "$*" >&2; }
fail() {
    printf 'control plane: failed: %s\ncontrol plane: remedy: %s\n' "$1" "$2" >&2
    exit 1
}

package() {
    case $1 in
        etcd) echo go.etcd.io/etcd/server/v3 ;;
        kube-apiserver | kubectl | kube-controller-manager | kube-scheduler | kubelet | kube-proxy) echo "k8s.io/kubernetes/cmd/$1" ;;
        helm) echo helm.sh/helm/v3/cmd/helm ;;
        *) fail "there is no program $1" "one of: ${ALL[*]}" ;;
    esac
}

# place NAME: where it is, or will be.
place() {
    if [ -n "${KUBEBUILDER_ASSETS:-}" ] && [ -x "$KUBEBUILDER_ASSETS/$1" ]; then
        echo "$KUBEBUILDER_ASSETS/$1"
    elif [ "$1" = helm ]; then
        echo "$CACHE/helm-$HELM/helm"
    else
        echo "$ROOM/$1"
    fi
}

need_go() {
    local remedy="unpack Go as https://go.dev/doc/install says (into /usr/local/go), then run this again; Debian 12's own package is too old"
    local have
    command -v go >/dev/null || PATH=$PATH:/usr/local/go/bin
    command -v go >/dev/null || fail "building it needs Go 1.$NEED_GO or later, and there is no go on PATH" "$remedy"
    have=$(cd / && go env GOVERSION)
    [[ $have =~ ^go1\.([0-9]+) ]] || fail "\`go env GOVERSION\` says $have" "$remedy"
    [ "${BASH_REMATCH[1]}" -ge "$NEED_GO" ] ||
        fail "building it needs Go 1.$NEED_GO or later, and this is $have" "$remedy"
}

# build NAME: aside, then renamed, so that what has its name is whole.
build() {
    local minor=${VERSION#v1.} module=. of=$VERSION flags='-s -w'
    local variables=k8s.io/component-base/version
    if [ "$1" = helm ]; then
        module=helm of=$HELM
    else
        flags="$flags -X $variables.gitVersion=$VERSION -X $variables.gitMajor=1 -X $variables.gitMinor=${minor%%.*} \
-X $variables.gitTreeState=clean"
    fi
    say "building $1 (of $of; minutes the first time, cached then)"
    CGO_ENABLED=0 go build -C "$module" -trimpath -buildvcs=false -o "$ASIDE/$1" -ldflags "$flags" "$(package "$1")" >&2 ||
        fail "$1 does not build" "look at the lines above; is what \`go env GOPROXY\` names within reach?"
    mkdir -p "$(dirname "$(place "$1")")"
    mv "$ASIDE/$1" "$(place "$1")"
}

missing=()
for name; do
    package "$name" >/dev/null
    [ -x "$(place "$name")" ] || missing+=("$name")
done
if [ ${#missing[@]} -gt 0 ]; then
    need_go
    mkdir -p "$ROOM"
    # Two runs at once must not build the same thing twice.
    exec 8>"$CACHE/.control-plane-lock"
    flock 8
    ASIDE=$(mktemp -d "$ROOM/.build-XXXXXX")
    trap 'rm -rf "$ASIDE"' EXIT
    for name in "${missing[@]}"; do
        [ -x "$(place "$name")" ] || build "$name"
    done
fi
for name; do echo "$name=$(place "$name")"; done
