#!/usr/bin/env bash
# Writes the container image of the static program, for `ctr images import`, `docker load`, `podman load`, `buildah`:
# target/cellwall-image.tar, tagged cellwall:VERSION. No daemon, no registry, no base image.
#
#   scripts/image.sh [tests]    tests: the image of the tests' pods too, target/cellwall-test-pod.tar
#
# PROFILE=dev builds faster and larger.
set -euo pipefail
cd "$(dirname "$0")/.."

TARGET=${CARGO_TARGET_DIR:-target}
MUSL=x86_64-unknown-linux-musl
PROFILE=${PROFILE:-release}
OUT=$TARGET/$MUSL/${PROFILE/dev/debug}
VERSION=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)

cargo build --locked --profile "$PROFILE" --target "$MUSL" --package cellwall-controller --bin cellwall
cargo xtask image --program "$OUT/cellwall" --name "cellwall:$VERSION" --output "$TARGET/cellwall-image.tar"
if [ "${1:-}" = tests ]; then
    cargo build --locked --profile "$PROFILE" --target "$MUSL" --package cellwall-test-pod
    cargo xtask image --program "$OUT/pod" --name cellwall-test-pod:1 --command pause --output "$TARGET/cellwall-test-pod.tar"
fi
