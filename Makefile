# One target per thing a newcomer types. Everything happens in .venv and build/.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCKED := $(VENV)/.locked
READY := $(VENV)/.ready
SITED := $(VENV)/.sited
DEMO ?= build/demo
MULTISITE ?= build/multisite
# One more than the cores of a small machine: some tests wait for a server or a clock.
JOBS ?= 3
# Properties whose examples are few in `make test`.
SEARCHED := tests/property tests/unit/test_digest.py

# Console scripts must not import from the folder they are started in.
export PYTHONSAFEPATH := 1
# Without bytecode a cold import of the big libraries takes three times as long.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo demo-multisite test test-browser coverage test-slow test-duckdb soak check docs published site notebook bench clean

help:  ## Show this list.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(LOCKED): requirements.lock
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not there. Install Python 3.11 or newer, or name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$$($(PYTHON) --version) is too old. Dripwatch needs 3.11 or newer: make PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) has no venv. On Debian and Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

# pip refuses an editable install while hashes are required: hence a second step.
$(READY): $(LOCKED) pyproject.toml
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# What only documentation, the notebook and the tests in a browser need; the list is what comes on top.
$(SITED): requirements-site.lock $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-site.lock
	@touch $@

demo: $(READY)  ## Make a synthetic hospital in build/demo and run three nights.
	$(BIN)/dripwatch demo --out $(DEMO)

demo-multisite: $(READY)  ## Make eight unlike hospitals in build/multisite and pool what they may tell.
	$(BIN)/dripwatch demo-multisite --out $(MULTISITE)

test: $(READY)  ## Run the tests.
	$(BIN)/python -m pytest -W error -m "not slow" -n $(JOBS) --dist loadfile --no-loadscope-reorder

coverage: $(READY)  ## Run the tests and measure what they reach; a quarter slower.
	$(BIN)/python -m pytest -W error -m "not slow" -n $(JOBS) --dist loadfile --no-loadscope-reorder --cov --cov-report=term

test-browser: $(SITED)  ## Run the tests of the report in Chromium (Debian: apt install chromium).
	$(BIN)/python -m pytest -W error -m browser --timeout 900 tests/browser

test-slow: $(SITED)  ## Run the tests that take minutes.
	$(BIN)/python -m pytest -W error -m slow --timeout 3600
	DRIPWATCH_EXAMPLES=10 $(BIN)/python -m pytest -W error -m "not slow" -n $(JOBS) --timeout 3600 $(SEARCHED)
	$(MAKE) --no-print-directory test-duckdb

soak: $(READY)  ## Kill 200 nights at random instants; hours.
	DRIPWATCH_KILLS=200 $(BIN)/python -m pytest -W error -s tests/functional/test_faults_kill.py -k random_instants

# Only information: the lock decides which DuckDB is used (docs/decisions/001).
test-duckdb: $(READY)  ## Run what does not need a whole site on DuckDB 2, where it can be had.
	@rm -rf build/duckdb-2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target build/duckdb-2 'duckdb>=2,<3' \
		|| { echo "DuckDB 2 cannot be had here: not tried."; exit 0; }; \
	PYTHONPATH=build/duckdb-2 $(BIN)/python -m pytest -q -W error -m "not slow" -n $(JOBS) --dist loadfile \
		tests/unit tests/property tests/functional/test_truth.py --tb=line \
		|| echo "These fail on DuckDB 2; that is information, no failure (docs/decisions/001)."

check: $(READY)  ## Format, lint, types, import layers, zone rule.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q -W error -k "zone and lint" tests/unit

docs: $(READY)  ## Write the generated pages of docs/reference, and the cases of docs/windows.md.
	$(BIN)/python -P -m flows.reference
	PYTHONPATH=. $(BIN)/python -m tests.spec.render

published: $(READY)  ## Write docs/published.md and the cookbook's answers; a minute.
	$(BIN)/python -P -m flows.published

bench: $(READY)  ## Measure this road, FHIR and linkage against bare DuckDB.
	$(BIN)/python -m bench

site: $(SITED)  ## Build the documentation site in build/site, without a network.
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -P -m mkdocs build --strict --quiet
	@echo "Open build/site/index.html, or for its search: python3 -m http.server -d build/site"

notebook: $(SITED)  ## Open the notebook on build/demo's warehouse, or on DRIPWATCH_WAREHOUSE.
	MARIMO_SKIP_UPDATE_CHECK=1 $(BIN)/marimo edit notebooks/warehouse.py

clean:  ## Remove build products (the virtual environment stays).
	rm -rf build dist .coverage .coverage.* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
