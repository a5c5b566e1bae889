.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test lint types imports unit integration acceptance lowest coverage clean

help: ## Print the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[embedded,cli]' -r requirements-dev.txt
	touch $(READY)

demo: $(READY) ## The whole path on this machine; URLS="http://... http://..." takes others; LIVE=1 the real service
	@$(BIN)/python -m examples.demo
