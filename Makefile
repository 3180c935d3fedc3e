# Two commands: `make demo` and `make test` do all their set-up, by package name with ordinary clients.
# What takes long to make lives outside the checkout, in the user's cache folder (CACHE).

SHELL := /bin/bash
PYTHON ?= python3
CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/livekit-tokens
VENV ?= .venv
TESTERS ?= 2
BIN := $(VENV)/bin
RUN := PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.DEFAULT_GOAL := help
.PHONY: help setup demo test check soak bench bench-accuracy bench-peers bench-size lowest server postgres browser judge docs clean

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 18

setup: $(VENV)/.done ## Make the virtual environment

$(VENV)/.done: pyproject.toml constraints.txt
	@echo "set-up: virtual environment in $(VENV) (once; about a minute)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "set-up needs Python 3.11 or newer; this is " + sys.version.split()[0] + " (set PYTHON=...)")'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --constraint constraints.txt --editable '.[dev]'
	@touch $@

server: setup ## Find or build a livekit-server (Go; once, about 3 minutes)
	@$(BIN)/python -m livekit_tokens.demo.server || true

demo: setup ## Hold a tracked call and show its receipt, report and bill
	@$(BIN)/livekit-tokens demo

postgres: ## Install PostgreSQL's binaries and PgBouncer for the tests, if they are missing and apt can
	@{ ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null; } && command -v pgbouncer >/dev/null || { \
	  echo "set-up: PostgreSQL and PgBouncer by apt-get"; \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq postgresql pgbouncer; } >/dev/null \
	  || echo "set-up: no PostgreSQL or PgBouncer can be installed here; their tests are skipped"; }

browser: ## Install Chromium for the tests of the page, if it is missing and apt can
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || { \
	  echo "set-up: Chromium by apt-get"; \
	  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; } >/dev/null \
	  || echo "set-up: no Chromium can be installed here; its tests are skipped"; }

judge: setup ## Install npm's aimock, the provider that judges our figures, if npm can
	@$(BIN)/python -m tests.capture.wire.aimock

check: setup ## Format, lint, types, rooms
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup server postgres browser judge check ## All gates and all tests
	$(BIN)/python -m pytest --numprocesses $(TESTERS) --dist worksteal

lowest: setup server ## The tests of capture and a real call, on the lowest LiveKit that is supported
	@test -f $(VENV)-lowest/.done || { $(PYTHON) -m venv $(VENV)-lowest \
	  && $(VENV)-lowest/bin/python -m pip --disable-pip-version-check --quiet install \
	    'livekit-agents==1.8.0' 'livekit-plugins-openai==1.8.0' 'livekit-plugins-cartesia==1.8.0' \
	    'livekit-plugins-deepgram==1.8.0' 'livekit-plugins-elevenlabs==1.8.0' --editable '.[dev]' \
	  && touch $(VENV)-lowest/.done; }
	$(VENV)-lowest/bin/python -m pytest tests/capture tests/e2e/test_a_tracked_call.py

soak: setup server ## The fault experiments, full form
	$(BIN)/python -m tests.soak --full

bench-accuracy: setup ## The accuracy bench: our figures beside the provider's bill, cuts at random (SEED=1; 7 minutes)
	@$(BIN)/python -m benchmarks.accuracy --seed $(or $(SEED),1); met=$$?; \
	  $(BIN)/python -m benchmarks.wire_accuracy --seed $(or $(SEED),1) && exit $$met

bench-peers: setup ## VoiceGateway beside us, in an environment of its own (PEERS=--short; 6 minutes)
	$(BIN)/python -m benchmarks.peers --folder $(CACHE)/peers $(PEERS)

bench: setup ## The benchmarks: goal, figure, reference, met or not (BENCH="--full", or names: BENCH="stalls start")
	$(BIN)/python -m benchmarks $(BENCH)

bench-size: setup postgres ## What a ledger's size does to it, 10 thousand to 10 million records, on SQLite and PostgreSQL
	$(BIN)/python -m benchmarks.size --full
	$(BIN)/python -m benchmarks.size --full --postgres

docs: setup ## Run every command that the documents show and put in what it prints
	$(BIN)/python docs/refresh.py $(DOCS)

clean: ## Remove what make made in the checkout
	rm -rf $(VENV) $(VENV)-lowest dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
