# The environment lives in .venv; every target makes it if it is missing, and is quick if it is there.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: help install quickstart test test-all check format clean

help: ## Show what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(INSTALLED) ## Make the virtual environment and install multiprompt with all that its tests need

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[hub,dev]"
	@touch $@

quickstart: $(INSTALLED) ## Run the whole method on the embedded model: teachers, source prompt, targets, report
	$(BIN)/multiprompt quickstart --resume

# Workers take tests that stand beside each other, which share what a module has made, and what is left from the others.
test: $(INSTALLED) ## Run the fast tests
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not slow and not network"

# One after the other: each starts several programs.
test-launched: $(INSTALLED) ## Run the slow tests that launch runs and kill them
	$(BIN)/python -m pytest -n 0 -m "launched and not network"

test-all: $(INSTALLED) ## Run all tests that need no network
	$(BIN)/python -m pytest -n auto --dist worksteal -m "not network"

check: $(INSTALLED) ## Lint, formatting and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(INSTALLED) ## Put the code into its form
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## Remove the environment and all caches
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .hypothesis build src/*.egg-info
