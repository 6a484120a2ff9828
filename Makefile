# The environment lives in .venv; every target makes it if it is missing, and is quick if it is there.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: help install quickstart test test-all test-launched test-numbers test-newest lock check format clean

# The build backend is installed first and used as it is, so that the lock holds for it too.
define INSTALL
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "multiprompt needs Python 3.11 or newer, \
	and $(PYTHON) is %d.%d. Name another one: make PYTHON=python3.12 ..." % sys.version_info[:2])'
	$(PYTHON) -m venv $(1)
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check $(2) setuptools wheel
	$(1)/bin/python -m pip install --quiet --disable-pip-version-check $(2) --no-build-isolation -e ".[hub,dev]"
endef

# Instructions that a processor is told to do without, in torch, oneDNN and MKL: sums are added up in other orders.
OLDEST := ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_ENABLE_INSTRUCTIONS=SSE4_2
AVX2 := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2
NUMBERS := $(BIN)/python -m pytest -n auto -m "not slow and not network" \
	$(addprefix tests/,backbone methods training recipes runs forecast mini losses prompts evaluation analysis)

help: ## Show what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(INSTALLED) ## Make the virtual environment and install multiprompt with all that its tests need

$(INSTALLED): pyproject.toml constraints.txt
	$(call INSTALL,.venv,-c constraints.txt)
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

test-newest: ## Run the fast tests with the newest release of every package, in an environment of its own
	$(call INSTALL,.venv-newest,--upgrade)
	.venv-newest/bin/python -m pytest -n auto -m "not slow and not network"

lock: ## Write constraints.txt from the environment of test-newest; run that first, and the tests after it
	tools/lock.sh .venv-newest > constraints.new
	mv constraints.new constraints.txt

test-numbers: $(INSTALLED) ## Run the tests that compare numbers with the instructions of older processors and two threads
	env $(OLDEST) $(NUMBERS)
	env $(OLDEST) MULTIPROMPT_TEST_THREADS=2 $(NUMBERS) -n 0
	env $(AVX2) $(NUMBERS)
	env $(AVX2) MULTIPROMPT_TEST_THREADS=2 $(NUMBERS) -n 0
	$(NUMBERS)
	env MULTIPROMPT_TEST_THREADS=2 $(NUMBERS) -n 0

check: $(INSTALLED) ## Lint, formatting and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(INSTALLED) ## Put the code into its form
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## Remove the environment and all caches
	rm -rf .venv .venv-newest .pytest_cache .ruff_cache .mypy_cache .hypothesis build src/*.egg-info
