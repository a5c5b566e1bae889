.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
INSTALL := -m pip install -qq --disable-pip-version-check

# Tests that wait for other processes most of their time: more of them at once than there are cores.
JOBS ?= 4
LOWEST := .venv-lowest

.PHONY: help demo test test-all rest newest lint types imports tests coverage lowest faults wire bench clean

help: ## Print the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(READY): pyproject.toml constraints.txt requirements-dev.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(INSTALL) -c constraints.txt -e '.[embedded,cli]' -r requirements-dev.txt
	touch $(READY)

demo: $(READY) ## The whole path on this machine; URLS="http://... http://..." takes others; LIVE=1 the real service
	@$(BIN)/python -m examples.demo

test: lint types imports tests coverage ## Lint, types, import rules, tests, coverage

test-all: test lowest rest ## That, the lower bounds, and all other tests: what CI runs

lint: $(READY) ## Style, spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

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
	$(BIN)/python -m tests.wire --seed $(or $(SEED),1) --pairs $(or $(PAIRS),500) --markdown docs/answers.md

bench: $(READY) ## Floor, usual canvas and this package side by side; CASE="A B", FULL=1, TINY=1
	$(BIN)/python -m benchmarks $(if $(CASE),--case $(CASE)) $(if $(FULL),--full) $(if $(TINY),--tiny --no-charts)

rest: $(READY) ## The tests that take long, and those that need a browser or RabbitMQ, which it installs on Debian
	@$(BIN)/python tests/support/debian.py
	$(BIN)/python -m pytest -q -n 2 -m 'browser or rabbitmq or long'

newest: $(READY) ## The examples with the newest of all that they need: NEWEST=python3.13
	EXAMPLES_PYTHON=$(or $(NEWEST),python3) $(BIN)/python -m pytest -q -n 2 tests/acceptance/test_django.py tests/acceptance/test_flask.py

coverage: $(READY) ## What the last run of the tests reached
	$(BIN)/coverage combine -q
	$(BIN)/coverage report --fail-under=100 --include='*/client/*,*/store/*,*/rules/*,*/polling.py'
	$(BIN)/coverage report --fail-under=95 --omit='*/client/*,*/store/*,*/rules/*,*/polling.py'

lowest: $(LOWEST)/.ready ## The tests of the wire and of the whole path, on the lower bounds of pyproject.toml
	$(LOWEST)/bin/python -m pytest -q -n $(JOBS) -W 'ignore::UserWarning' \
		tests/unit/client tests/unit/models tests/unit/store tests/acceptance/test_main_job.py tests/acceptance/test_canvas.py

$(LOWEST)/.ready: pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python $(INSTALL) -c constraints-lowest.txt -e '.[embedded,cli]' \
		'fakeredis[lua]' gevent hypothesis pytest pytest-timeout pytest-xdist scrape-do-python
	touch $(LOWEST)/.ready

clean: ## Remove what the targets above made
	rm -rf $(VENV) $(LOWEST) .demo .bench .coverage* .mypy_cache .ruff_cache .hypothesis dist
