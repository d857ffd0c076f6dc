# Each target sets up what it needs. VENV=folder uses another environment, PYTHON=python3.12 another Python;
# TESTERS=4 runs the tests in four processes.

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TYPESCRIPT := tests/acceptance/typescript
NODE_STAMP := $(TYPESCRIPT)/node_modules/.package-lock.json
BENCHES := bus accept overhead core idle start load same engine memory

TESTERS ?= 2

# One thread per process: several OpenMP threads beside a busy neighbour are many times slower than one.
ONE_THREAD := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
# Tests start hundreds of processes: modules are compiled once, even where the environment says otherwise.
KEEP_COMPILED := PYTHONDONTWRITEBYTECODE=
# Modules stay whole, so that what their tests share is made once, and come in the order of tests/conftest.py.
SIDE_BY_SIDE := -n $(TESTERS) --dist loadscope --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help venv demo test check bench clean

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMP) ## Set up the environment in .venv (another folder: VENV=folder)

demo: $(STAMP) ## Start a server, draw one picture to demo.png, stop the server
	@$(BIN)/python examples/demo.py

test: $(STAMP) $(NODE_STAMP) ## Run all tests, the unit tests first, in two processes (in one: TESTERS=0)
	$(ONE_THREAD) $(KEEP_COMPILED) $(BIN)/python -m pytest -q $(SIDE_BY_SIDE)

check: $(STAMP) ## Check format, lint, types, layers, generated docs; then run the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m docs.generate --check
	@$(MAKE) --no-print-directory test

bench: $(STAMP) ## Measure the figures: a table and a line of JSON each
	@set -e; for name in $(BENCHES); do $(BIN)/python -m bench.$$name; done

clean: ## Remove the environment and everything that was made
	rm -rf $(VENV) $(TYPESCRIPT)/node_modules build dist *.egg-info demo.png .coverage
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# Written last, so that an installation that broke off is done again; renewed when the versions change.
$(STAMP): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11 or later is needed; $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo not there)."; \
	  echo "Name another one: make PYTHON=python3.12"; exit 1; }
	@echo "Setting up $(VENV): about 7 GB on the disk, and some minutes in which pip says nothing ..."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check \
	  -c constraints.txt -e '.[worker,pose,dev,training]'
	@# pip would compile with one core. What does not compile is a template, or for another Python.
	@$(BIN)/python -m compileall -q -j 0 $(VENV) >/dev/null || true
	@touch $@

# Without Node or a registry the test of the TypeScript client is skipped, and says so.
$(NODE_STAMP): $(TYPESCRIPT)/package-lock.json
	@! command -v npm >/dev/null || npm ci --silent --prefix $(TYPESCRIPT) || true
