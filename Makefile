# The commands of this project. CI and the README call these and nothing else.
# `make help` lists them.

PYTHON ?= python3
SEEDS ?= 10000
VENV := .venv
BIN := $(VENV)/bin
CARGO ?= cargo
export PYO3_PYTHON := $(CURDIR)/$(BIN)/python
# maturin installs into the active environment: that is this one, whichever the shell has activated.
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
unexport CONDA_PREFIX
# maturin has pip look at every dependency at each build; what is satisfied need not be said.
export PIP_QUIET := 1
# The demo model, the tests and the linters never ask the network for anything.
export HF_HUB_OFFLINE := 1

.DEFAULT_GOAL := help
.PHONY: help setup setup-test build serve test test-rust sim test-py test-tokenizers gpu-check test-clients fuzz miri check fmt wheel docs demo clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

# One stamp a dependency group: a group is installed again when pyproject.toml changes.
$(VENV)/.installed-pip:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.installed-%: pyproject.toml | $(VENV)/.installed-pip
	$(BIN)/pip install --quiet --group $*
	@touch $@

setup: $(VENV)/.installed-run $(VENV)/.installed-build  ## Make .venv with what building and serving need

setup-test: setup $(VENV)/.installed-test $(VENV)/.installed-lint

build: setup  ## Build the extension for development, in place (editable)
	$(BIN)/maturin develop --quiet

serve: setup  ## Build, install and run the server: make serve ARGS="--port 8001 FOLDER"
	$(BIN)/maturin develop --quiet --release
	@exec $(BIN)/streamcore serve $(ARGS)

test: test-rust check test-py  ## Everything that needs no GPU

# Cargo remembers what the build script of rust/kernels found: the CUDA compiler must be there before its first run.
test-rust: $(VENV)/.installed-build  ## The engine, the server and the CPU kernels
	$(CARGO) test --quiet
	$(CARGO) test --quiet --features streamcore-engine/planted-bugs --test planted_bugs

sim:  ## More seeds of the engine's simulation: make sim SEEDS=100000
	SEEDS=$(SEEDS) $(CARGO) test --quiet --release -p streamcore-engine --test simulation

test-py: setup-test build  ## The extension, the runner and the whole server
	$(BIN)/python -m pytest -q

test-tokenizers: setup-test build  ## Text against real tokenizers: make test-tokenizers TOKENIZERS=FOLDER
	STREAMCORE_TOKENIZERS=$(abspath $(TOKENIZERS)) $(CARGO) test --quiet -p streamcore-server --test text
	STREAMCORE_TOKENIZERS=$(abspath $(TOKENIZERS)) $(BIN)/python -m pytest -q tests/e2e/test_real_tokenizers.py

gpu-check: setup-test build  ## The tests that need a CUDA device
	$(BIN)/python -m pytest -q -m gpu tests

# As it is released: with the checks of a development build an answer of 131072 tokens takes minutes.
test-clients: setup  ## Released clients against the server: make test-clients CLIENTS="openai-oldest ai-sdk"
	$(BIN)/maturin develop --quiet --release
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

check: setup-test  ## Formatting, lints, types, import rules
	$(CARGO) fmt --all --check
	$(CARGO) clippy --quiet --workspace --all-targets -- --deny warnings
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	PYTHONPATH=python $(BIN)/lint-imports --no-cache

fmt:  ## Format everything
	$(CARGO) fmt --all
	$(BIN)/ruff format --quiet .
	$(BIN)/ruff check --quiet --fix .

wheel: setup  ## Build the wheel into dist/
	$(BIN)/maturin build --release --out dist

docs: build  ## Rewrite the generated pages
	$(BIN)/python docs/generate.py
	UPDATE_DOCS=1 $(CARGO) test --quiet -p streamcore-server --test reference

demo: setup-test  ## Train the demo model again (up to an hour)
	$(BIN)/python -m demo.train

clean:  ## Remove what the other targets made
	rm -rf target dist $(VENV)
