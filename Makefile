# The everyday commands. CONTRIBUTING.md tells what each is for; .ci/run is the whole gate.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Debug builds: the first one takes minutes instead of a quarter of an hour, and is fast enough for
# one machine. For measuring and for use, build with --release.
BIN := target/debug
SERVE := --mode combined --data-dir .run
# Places at which the crash tests end the agent; no shipped binary has them.
FAILPOINTS := --features argosy-agent/failpoints

.PHONY: help run dev test kills coverage fuzz fmt lint docs deny check

help: ## Show the commands
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /make \1\t/' | expand -t 14

run: ## Build, then run server and local agent on 127.0.0.1:8080 with SQLite in .run
	cargo build --workspace --bins
	@printf '\nIn another terminal, in this directory:\n  export PATH="$$PWD/$(BIN):$$PATH"\n\n'
	@exec $(BIN)/argosyd $(SERVE)

dev: ## The same, built and started again on every change
	@exec scripts/dev $(SERVE)

test: ## Every test, on SQLite and PostgreSQL; installs what is missing
	scripts/install-test-deps
	"$$(scripts/python-env)" e2e/python/check_vectors.py
	scripts/previous-release
	cargo build --workspace --all-targets $(FAILPOINTS)
	cargo test --workspace --doc --quiet $(FAILPOINTS)
	scripts/with-postgres cargo nextest run --workspace --no-fail-fast $(FAILPOINTS)

kills: ## 200 random kills of server and agent on each database; KILLS=n SEED=n for others
	cargo build --workspace --bins --tests $(FAILPOINTS)
	ARGOSY_TEST_MINUTES=60 ARGOSY_KILLS=$(or $(KILLS),200) $(if $(SEED),ARGOSY_KILLS_SEED=$(SEED)) \
		scripts/with-postgres cargo test --workspace $(FAILPOINTS) --test processes -- \
		--nocapture commands_end_once_whenever_somebody_is_killed

coverage: ## The tests with counters; fails below 85 % of the lines of any group
	scripts/coverage

fuzz: ## Look for inputs that break a decoder, a minute each; SECONDS_EACH=600 for longer
	scripts/fuzz $(or $(SECONDS_EACH),60)

fmt: ## Format the code
	cargo fmt --all

lint: ## Check the format, and lint with warnings as errors
	cargo fmt --all --check
	cargo clippy --workspace --all-targets $(FAILPOINTS) -- -D warnings

docs: ## Build the documentation of the code with warnings as errors
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --workspace

deny: ## Check licences, bans and sources of dependencies
	scripts/install-test-deps cargo-deny
	cargo deny --log-level error check bans licenses sources

check: lint docs deny test ## All of the above, as .ci/run does
