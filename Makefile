# People's commands. Build outputs and caches live outside the tree, so that
# they survive a fresh clone.
CACHE := $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/sluice
export CARGO_TARGET_DIR ?= $(CACHE)/target

.PHONY: help demo demo-local test unit e2e e2e-cluster lint fuzz bench cluster cluster-down images chart generate

help: ## what there is to do
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## on a real cluster: helm install, an annotated pod, allowed, masked, denied, recorded, tampered with
	tests/demo/cluster/run

demo-local: ## the same without Kubernetes around the agent: sluice run on this machine
	tests/demo/local/run

test: ## everything: unit, property and golden tests, then the cluster
	$(MAKE) unit
	$(MAKE) e2e

unit: ## tests that need no cluster
	cargo test --locked --workspace --exclude sluice-e2e

e2e: ## tests against a real API server and a real identity provider, without and with Sluice installed
	tests/e2e/run && $(MAKE) chart && tests/e2e/run cluster; status=$$?; tests/cluster/down; exit $$status

lint: ## formatting, clippy, generated files
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo run --locked -q -p xtask -- generate --check

e2e-cluster: ## tests of Sluice as installed by its chart: ways around it, outages, rotation
	tests/e2e/run cluster; status=$$?; tests/cluster/down; exit $$status

fuzz: ## each fuzz target for SECONDS_EACH seconds (default 60)
	fuzz/run $(or $(SECONDS_EACH),60)

bench: ## ratios against Envoy and HAProxy on this machine
	tests/bench/run

cluster: ## starts the test bed: one-node Kubernetes and an identity provider
	tests/cluster/up

cluster-down: ## stops it and leaves nothing behind
	tests/cluster/down

images: ## builds our images without Docker, and imports them into the test bed if it runs
	tests/images/build

chart: cluster ## checks the chart, then installs, upgrades and removes it on the test bed
	tests/chart/run
	tests/images/build --quick
	tests/images/build --quick --tag next gateway
	tests/chart/cluster

generate: ## writes the generated files
	cargo run --locked -q -p xtask -- generate
