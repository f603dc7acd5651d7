# Everything a developer runs. `make help` lists it; `make demo` and `make test` need nothing
# installed by hand beyond a Rust toolchain: what else is missing, scripts/prepare installs.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: check-thousand grade help demo test lint features rustls-range outside bench bench-latency bench-limits bench-route bench-serve fuzz interop bogo bogo-forced peers prepare prepare-peers wheel sdist test-sdist test-python test-pythons test-python-year-old try-python bench-python soak-servers soak-python soak-python-client soak-python-loads

# How many mutated inputs each target of `make fuzz` gets.
MUTATIONS ?= 1000000
# How many connections `make soak-python` makes.
SOAK ?= 100000
# How many handshakes fail there, in each of ten ways.
FAILURES ?= 10000
# How long each of the two phases of `make soak-servers` goes on.
SERVERS_SECONDS ?= 60
# How `make wheel` compiles.
WHEEL_PROFILE ?= release

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: prepare ## see ECH hide a name: an ECH internet on loopback, with and without, and on the wire
	cargo run --locked --package echkit-cli --bin ech -- demo

test: peers ## the tests in Rust: unit, property, API, command and interop tests, shell in the documents
	cargo test --locked --workspace --no-fail-fast

lint: prepare ## formatting, clippy, documentation, licences, leftovers, code in the documents
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps
	python3 scripts/licences.py
	python3 scripts/leftovers.py
	python3 scripts/circles.py
	python3 scripts/names.py
	python3 scripts/snippets.py
	@scripts/package
	python3 scripts/crates.py

features: prepare ## compile each choice of features that makes sense, on its own
	@scripts/features

rustls-range: prepare ## the assumption tests with the lowest and the newest rustls that the range allows
	@scripts/rustls-range

outside: prepare ## a project outside the workspace, with rustls' default features: two handshakes, and its log searched
	@scripts/outside

bench: prepare ## benchmarks, with their ratio to stock rustls in the same run
	cargo bench --locked --workspace --bench '*'

bench-latency: prepare ## a page over a slow network, beside its round trips (root; else skipped); RUNS (15)
	cargo build --locked --release --workspace --bin ech --example latency
	python3 scripts/bench-latency.py --bin "$${CARGO_TARGET_DIR:-target}/release" --runs $(or $(RUNS),15) $(LATENCY)

bench-limits: prepare ## what the largest answers of a hostile resolver cost `ech get -m 3`
	cargo build --locked --release --workspace --bin ech
	python3 scripts/bench-limits.py --check --ech "$${CARGO_TARGET_DIR:-target}/release/ech"

bench-route: prepare ## ech route beside HAProxy and nginx as TCP routers; SECONDS (3), ROUNDS (3), CLIENTS (32)
	@scripts/prepare bench-route
	cargo build --locked --release --workspace --bin ech
	ECHKIT_BENCH_ECH="$${CARGO_TARGET_DIR:-$(CURDIR)/target}/release/ech" cargo bench --locked --workspace --profile dev --bench route

bench-serve: prepare ## ech serve beside Caddy, and beside rustls and hyper without ECH; SECONDS (3), ROUNDS (5), CLIENTS (32)
	@scripts/prepare peers
	ECHKIT_PEERS=caddy interop/peers/build
	cargo build --locked --release --workspace --bin ech
	ECHKIT_BENCH_ECH="$${CARGO_TARGET_DIR:-$(CURDIR)/target}/release/ech" \
	ECHKIT_BENCH_CADDY="$${ECHKIT_INTEROP_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/echkit-interop}/caddy-2.11.7/bin/caddy" \
	cargo bench --locked --workspace --bench serve

fuzz: prepare ## feed every parser MUTATIONS (1000000) mutated inputs
	ECHKIT_MUTATIONS=$(MUTATIONS) cargo test --locked --release --workspace --test 'mutations*' -- --nocapture

grade: peers ## what clients that can be run here do at the testbed's cases: writes docs/grades.md
	@scripts/prepare grade
	cargo build --locked --package echkit-cli --bin ech
	python3 scripts/grade.py "$${CARGO_TARGET_DIR:-target}/debug/ech"

check-thousand: prepare ## check 1,000 hosts of the testbed in one run: rate, memory and sockets, held to limits (HOSTS, JOBS)
	cargo build --locked --package echkit-cli --bin ech
	python3 scripts/check-thousand.py "$${CARGO_TARGET_DIR:-target}/debug/ech" --hosts $(or $(HOSTS),1000) --jobs $(or $(JOBS),32)

wheel: ## build the Python wheels into dist/ (WHEEL_PROFILE=dev compiles faster)
	@scripts/prepare python
	@scripts/wheels $(WHEEL_PROFILE)

sdist: ## pack the source distributions of the Python packages into dist/
	@scripts/prepare python
	@scripts/sdists

test-sdist: ## build wheels from the source distributions in a fresh environment, and use them (minutes)
	@scripts/prepare python
	@scripts/sdists build

test-python: wheel peers ## install the wheels into a fresh environment and test it there, types and test_ssl included
	@scripts/test-python

test-pythons: wheel peers ## the same under every CPython from 3.11 on that is here
	@for python in $$(scripts/pythons); do \
	  echo "== $$python"; PYTHON=$$python scripts/test-python; done

test-python-year-old: wheel ## the adapters with the libraries of a year ago (python/year-old.txt)
	@env=$$(scripts/python-env year-old); "$$env/bin/pip" install --quiet --force-reinstall --no-deps dist/*.whl; \
	cd python/tests && "$$env/bin/python" -m pytest -q test_adapters.py test_connecting.py test_inject.py

try-python: wheel ## each way into the Python packages as a newcomer takes it, in fresh environments, timed
	@python3 scripts/try-python.py

bench-python: wheel ## echkit.ssl beside the standard module (BENCH: more arguments), HTTP clients side by side (BENCH_CLIENTS)
	@env=$$(scripts/python-env); "$$env/bin/pip" install --quiet --force-reinstall --no-deps dist/*.whl; \
	"$$env/bin/python" python/bench/bench.py $(BENCH)
	@env=$$(scripts/python-env clients); "$$env/bin/pip" install --quiet --force-reinstall --no-deps dist/*.whl; \
	"$$env/bin/python" python/bench/clients.py --python niquests=$$(scripts/python-env niquests)/bin/python $(BENCH_CLIENTS)

soak-servers: prepare ## SERVERS_SECONDS (60) each: `ech serve` and `ech route` under load while all changes; then killed at random
	ECHKIT_SOAK_SECONDS=$(SERVERS_SECONDS) cargo test --release --locked --workspace --test servers_soak -- --nocapture --test-threads 1

soak-python: wheel ## SOAK (100000) connections in Python, FAILURES (10000) failing ones of each kind: nothing must grow
	@env=$$(scripts/python-env); "$$env/bin/pip" install --quiet --force-reinstall --no-deps dist/*.whl; \
	"$$env/bin/python" python/tests/stress.py soak $(SOAK) && \
	"$$env/bin/python" python/tests/stress.py failures $(FAILURES)

soak-python-client: wheel ## SOAK (100000) requests of the HTTP client in every way they end: nothing must grow
	@env=$$(scripts/python-env); "$$env/bin/pip" install --quiet --force-reinstall --no-deps dist/*.whl; \
	"$$env/bin/python" python/tests/client_stress.py soak $(SOAK)

soak-python-loads: wheel ## 100 MB both ways, 200 connections, closes, floods: each event loop and web library
	@env=$$(scripts/python-env); "$$env/bin/pip" install --quiet --force-reinstall --no-deps dist/*.whl; \
	for stack in asyncio uvloop trio anyio anyio-trio gevent eventlet; do for side in client server; do \
	  timeout 600 "$$env/bin/python" -W ignore python/tests/loads.py $$stack $$side 100 200; done; done; \
	for loop in asyncio uvloop; do \
	  for each in "aiohttp client" "aiohttp server" "uvicorn server" "hypercorn server" "websockets client" "websockets server"; do \
	    timeout 600 "$$env/bin/python" -W ignore python/tests/loads_web.py $$each $$loop 100 200 2>/dev/null; done; done

interop: peers ## the matrix against OpenSSL 4 and Go, both directions, cell by cell
	cargo test --locked --package echkit-interop -- --nocapture

bogo: peers ## BoringSSL's tests of ECH against our server and client, with the numbers
	cargo test --locked --workspace --test bogo

bogo-forced: peers ## every TLS 1.3 server test of BoringSSL's with ECH accepted and rejected (minutes)
	cargo test --locked --workspace --test bogo -- --ignored

peers: prepare-peers ## build OpenSSL 4, the Go peer and BoringSSL's test runner, once (ECHKIT_INTEROP=skip: none)
ifeq ($(ECHKIT_INTEROP),skip)
	@echo "peers: ECHKIT_INTEROP=skip, so neither the interop matrix nor BoringSSL's tests will run"
else
	@interop/peers/build
endif

prepare:
	@scripts/prepare

prepare-peers:
	@scripts/prepare $(if $(filter skip,$(ECHKIT_INTEROP)),,peers)
