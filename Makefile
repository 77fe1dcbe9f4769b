# Everything one does with this checkout. `make help` lists it; what a target needs, it installs first.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

CARGO_BIN := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin
export PATH := $(PATH):$(CARGO_BIN)
TARGET := $(or $(CARGO_TARGET_DIR),target)
MUSL := x86_64-unknown-linux-musl
BINARY := $(TARGET)/release/cellwall
STATIC := $(TARGET)/$(MUSL)/release/cellwall
# Only what touches the kernel runs as root.
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo -E)

# Frames of `make judge-frames` for the host build; the kernel judges a tenth of it. JUDGED=docs/judged.md writes the page.
FRAMES ?= 10000000
# How long `make soak` lasts, how often the agent is killed at least, and where its policy comes from: `api` (an API server
# that is away now and then) or `files`.
SOAK_SECONDS ?= 1800
SOAK_KILLS ?= 0
SOAK_SOURCE ?= api

# Arguments of `make bench`, such as BENCH='--rounds 3 --rows UDP'.
BENCH ?=

.PHONY: help demo test build static image bench bench-compile fuzz mutants soak judge-frames test-kernels lint fmt setup clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## a few pods, real traffic, a rule changed under it: what the kernel decides and why (root)
	@scripts/need-kernel.sh 'make demo'
	@scripts/setup.sh build
	@cargo build --locked --release --package cellwall-controller --bin cellwall
	@$(AS_ROOT) $(BINARY) demo

test: ## format, lints, licences, tidiness, unit tests, tests in the kernel (root)
	@scripts/test.sh all

build: ## the program: target/release/cellwall
	@scripts/setup.sh build
	@cargo build --locked --release --package cellwall-controller --bin cellwall
	@echo 'built: $(BINARY)'

static: ## the program as one static file, for any Linux on x86_64
	@scripts/setup.sh build
	@cargo build --locked --release --target $(MUSL) --package cellwall-controller --bin cellwall
	@if readelf --program-headers $(STATIC) | grep -q INTERP; then echo '$(STATIC) is not static' >&2; exit 1; fi
	@echo 'built, static: $(STATIC)'

image: ## the container image of it: target/cellwall-image.tar, cellwall:VERSION, for ctr, docker, podman, buildah
	@scripts/setup.sh build
	@scripts/image.sh

bench: ## what packets and changes of policy cost, beside no filter and nftables; writes docs/benchmark.md (root, ten minutes)
	@scripts/need-kernel.sh 'make bench'
	@scripts/setup.sh bench
	@cargo build --locked --release --package cellwall-controller --bin cellwall --package cellwall-tests --bin bench
	@$(AS_ROOT) env CELLWALL_BIN=$(BINARY) $(TARGET)/release/bench --page docs/benchmark.md $(BENCH)

bench-compile: ## how long compiling policy takes, at several sizes, statistically
	@scripts/setup.sh build
	@cargo bench --locked --package cellwall-policy

fuzz: ## frames, manifests and worlds by chance, against what must hold of any (FUZZ_SECONDS=60 for each)
	@scripts/fuzz.sh

mutants: ## change the packet path and the policy core in one place at a time: does a test tell?
	@scripts/setup.sh build
	@nice -n 19 cargo xtask mutants $(MUTANTS)

soak: ## pods come and go, rules flip, agent and API server die, floods run; each connection judged from outside (SOAK_SECONDS=1800) (root)
	@scripts/need-kernel.sh 'make soak'
	@scripts/setup.sh build
	@$(if $(filter api,$(SOAK_SOURCE)),scripts/control-plane.sh etcd kube-apiserver kubectl >/dev/null)
	@cargo build --locked --release --package cellwall-controller --bin cellwall
	@cargo build --locked --release --package cellwall-tests --bin soak
	@$(AS_ROOT) env CELLWALL_BIN=$(BINARY) $(TARGET)/release/soak --seconds $(SOAK_SECONDS) --kills $(SOAK_KILLS) --source $(SOAK_SOURCE)

judge-frames: ## random frames, built for the host and in the kernel, against rules and standards; goes on where it stopped (root)
	@scripts/setup.sh build
	@cargo build --locked --release --package cellwall-tests --bin judge-frames
	@$(TARGET)/release/judge-frames host --packets $(FRAMES) --progress $(TARGET)/judge-frames.jsonl
	@$(AS_ROOT) $(TARGET)/release/judge-frames kernel --packets $$(($(FRAMES) / 10)) --per-state 50000 --worlds 10 --jobs 1 --progress $(TARGET)/judge-frames.jsonl $(if $(JUDGED),--page $(JUDGED))

test-kernels: ## the datapath's tests and an agent on other kernels, under QEMU (slow); writes docs/kernels.md (root)
	@scripts/test-kernels.sh

lint: ## the part of `make test` that runs nothing: format, lints, licences, tidiness
	@scripts/test.sh lint

fmt: ## format every Rust file
	@scripts/setup.sh build
	@cargo fmt --all

setup: ## install what the others need: packages, toolchains, eBPF linker, cargo-deny
	@scripts/setup.sh all

clean: ## remove everything that was built here
	@cargo clean
