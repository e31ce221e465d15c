# Two commands on a fresh machine: `make run` and `make test`. `make help` lists the rest.

# One target directory for all clones, so that RocksDB is built once per machine.
export CARGO_TARGET_DIR ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/sternpost/target
BIN := $(CARGO_TARGET_DIR)/debug/sternpost
RELEASE := $(CARGO_TARGET_DIR)/release/sternpost
REFERENCE := conformance/reference
DATA ?= default.etcd
FLAGS ?=
BENCH ?=
CLUSTER ?= default.cluster
SEED ?= 1

.PHONY: help run cluster test check lint fix build deps release reference conformance mutants sim bench instructions

help:
	@echo 'make run          build, then serve on 127.0.0.1:2379 with data in ./$(DATA) (FLAGS="--name a ..." adds flags)'
	@echo 'make cluster      build, then start the members of docker-compose.yml on 127.0.0.1 with data in ./$(CLUSTER)'
	@echo 'make test         build and run every test'
	@echo 'make release      build the binary to ship: $(RELEASE)'
	@echo 'make check        format, lints, unit and golden tests, docs; changes nothing'
	@echo 'make fix          format and apply what the lints can mend'
	@echo 'make conformance  the black-box suites at full length (long)'
	@echo 'make mutants      plants known bugs one by one: the test named with each must catch it (long)'
	@echo 'make sim          one seed of the simulated cluster, with all that happens in it (SEED=17)'
	@echo 'make bench        measure Sternpost and etcd in turn (BENCH="--only put-1 ..." less of it); writes docs/benchmarks.md'
	@echo 'make instructions renew conformance/instructions.tsv, which guards the cost of a put, a get, a range and an event'
	@echo 'make reference    build etcd, etcdctl, etcdutl and benchmark, to compare with'
	@echo 'make deps         check for (and where possible install) a C++ compiler, libclang and Go'

deps:
	@scripts/deps.sh

build: deps
	cargo build --locked --workspace --all-targets
# With the test, Cargo gives the dependencies the same features as above, and builds none of them again.
	cargo build --locked --workspace --features sternpost-server/failpoints --bin sternpost-failpoints --test tidy

run: deps
	cargo build --locked -p sternpost-server
	exec $(BIN) --data-dir $(DATA) $(FLAGS)

release: deps
	scripts/release.sh

cluster: deps
	cargo build --locked -p sternpost-server
	cargo run --locked -q -p sternpost-conformance --bin local-cluster -- docker-compose.yml $(CLUSTER)

reference: deps
	cd $(REFERENCE) && go build -o bin/ tool

test: deps
	scripts/test.sh

lint: deps
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --workspace --all-targets --features sternpost-server/failpoints -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet

check: lint
	cargo test --locked -p sternpost-proto -p sternpost-storage -p sternpost-raft -p sternpost-server --lib --bins
	cargo test --locked -p sternpost-storage --test golden
	cargo test --locked -p sternpost-conformance --test tidy

fix:
	cargo clippy --fix --allow-dirty --allow-staged --workspace --all-targets
	cargo fmt --all

conformance: build reference
	scripts/conformance.sh

mutants: deps reference
	scripts/mutants.sh

sim: deps
	SEEDS=$(SEED) STERNPOST_SIMULATE_SHOW=1 cargo test --locked -q -p sternpost-raft --test sim -- --nocapture --exact seeds_keep_every_promise

bench: build release reference
	STERNPOST_BIN=$(RELEASE) cargo run --locked -q -p sternpost-conformance --bin bench -- --out docs/benchmarks.md $(BENCH)

instructions: deps
	cargo build --locked -p sternpost-server
	STERNPOST_INSTRUCTIONS=write cargo test --locked -q -p sternpost-conformance --test instructions -- --nocapture
