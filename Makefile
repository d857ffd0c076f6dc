# Each target sets up what it needs. VENV=folder uses another environment, PYTHON=python3.12 another Python (then
# the environment is made anew); EXTRAS=worker,pose takes other sets of setup.cfg (cpu or cuda follows the machine
# unless it is named), TORCH_INDEX= the ordinary build of torch also where there is no GPU; TESTERS=4 runs the tests
# in four processes.

VENV ?= .venv
PYTHON ?= $(if $(wildcard $(VENV)/bin/python),$(VENV)/bin/python,python3)
EXTRAS ?= worker
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
BIN := $(VENV)/bin
# Returns at once if the environment has the sets, and adds what is missing if not.
BUILD := $(PYTHON) -m conf.environments.build $(VENV) --torch-index='$(TORCH_INDEX)' --sets
TESTED := worker,pose,faces,training,dev
# Tools for the checks of the web page and of a generated client.
NODE_FOLDERS := tests/acceptance/typescript tests/web
NODE_STAMPS := $(NODE_FOLDERS:=/node_modules/.package-lock.json)
BENCHES := bus accept overhead core idle start load same engine memory

TESTERS ?= 2

# One thread per process: several OpenMP threads beside a busy neighbour are many times slower than one.
ONE_THREAD := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE
# Tests start hundreds of processes: modules are compiled once, even where the environment says otherwise.
KEEP_COMPILED := PYTHONDONTWRITEBYTECODE=
# Modules stay whole, so that what their tests share is made once, and come in the order of tests/conftest.py.
SIDE_BY_SIDE := -n $(TESTERS) --dist loadscope --no-loadscope-reorder

.DEFAULT_GOAL := help
.PHONY: help venv dev demo page test hosts check lowest newest bench lock sizes clean python

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-7s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: python ## Set up the server in .venv (another folder: VENV=folder; more: EXTRAS=worker,pose,faces)
	@$(BUILD) $(EXTRAS)

dev: python ## Add to it what tests, checks and benchmarks need
	@$(BUILD) $(EXTRAS),$(TESTED)

demo: venv ## Start a server, draw one picture to demo.png, stop the server
	@$(BIN)/python examples/demo.py

page: venv ## Start a server with the models that ship, for its web page (Ctrl-C stops it)
	@$(BIN)/python examples/demo.py --stay

test: dev $(NODE_STAMPS) ## Run all tests, the unit tests first, in two processes (in one: TESTERS=0)
	$(ONE_THREAD) $(KEEP_COMPILED) $(BIN)/python -m pytest -q $(SIDE_BY_SIDE)

hosts: dev ## Run the tests of launchers for other hosts, also the slow ones with a Ray cluster
	HOSTS=1 $(ONE_THREAD) $(KEEP_COMPILED) $(BIN)/python -m pytest -q tests/integration/launchers \
	  tests/acceptance/test_launched_workers.py tests/acceptance/test_ray_workers.py

check: dev ## Check format, lint, types, layers, generated docs; then run the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m docs.generate --check
	@$(MAKE) --no-print-directory test

lowest: python ## Run the core's unit tests with the oldest packages that setup.cfg allows
newest: python ## Run them with the newest ones
lowest newest:
	rm -rf $(VENV)-$@
	$(PYTHON) -m venv $(VENV)-$@
	$(VENV)-$@/bin/python -m pip install --quiet --disable-pip-version-check \
	  $(if $(filter lowest,$@),-c conf/constraints/lowest.txt) -e '.[test]'
	$(ONE_THREAD) $(KEEP_COMPILED) $(VENV)-$@/bin/python -m pytest -q $(SIDE_BY_SIDE) tests/unit
	rm -rf $(VENV)-$@

bench: dev ## Measure the figures: a table and a line of JSON each
	@set -e; for name in $(BENCHES); do $(BIN)/python -m bench.$$name; done

lock: dev ## Pin in conf/constraints/ what setup.cfg asks for (newer versions: UPGRADE=name,..., or UPGRADE=all)
	$(BIN)/python -m conf.environments.lock --upgrade='$(UPGRADE)'

sizes: dev ## Measure the environments: size and time of each set
	$(BIN)/python -m conf.environments.measure --torch-index='$(TORCH_INDEX)'

clean: ## Remove the environment and everything that was made
	rm -rf $(VENV) $(VENV)-lowest $(VENV)-newest $(NODE_FOLDERS:=/node_modules) build dist *.egg-info demo.png .coverage
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Python 3.11 or later is needed; $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo not there)."; \
	  echo "Name another one: make PYTHON=python3.12"; exit 1; }

# Without Node or a registry the tests that need these tools are skipped, and say so.
%/node_modules/.package-lock.json: %/package-lock.json
	@! command -v npm >/dev/null || npm ci --silent --prefix $* || true
