# The environment lives in .venv; every target makes it if it is missing, and is quick if it is there.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

# Instructions that a processor is told to do without, in torch, oneDNN and MKL: sums are added up in other orders.
OLDEST := ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_ENABLE_INSTRUCTIONS=SSE4_2
AVX2 := ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2
NUMBERS := $(BIN)/python -m pytest -n auto -m "not slow and not network" \
	$(addprefix tests/,backbone methods training recipes mini losses prompts evaluation analysis)

.PHONY: help install quickstart test test-all test-numbers check format clean

help: ## Show what can be made
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(INSTALLED) ## Make the virtual environment and install multiprompt with all that its tests need

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[hub,dev]"
	@touch $@

quickstart: $(INSTALLED) ## Run the whole method on the embedded model: teachers, source prompt, targets, report
	$(BIN)/multiprompt quickstart --resume

test: $(INSTALLED) ## Run the fast tests
	$(BIN)/python -m pytest -n auto -m "not slow and not network"

test-all: $(INSTALLED) ## Run all tests that need no network
	$(BIN)/python -m pytest -n auto -m "not network"

test-numbers: $(INSTALLED) ## Run the tests that compare numbers with the instructions of older processors and two threads
	env $(OLDEST) $(NUMBERS)
	env $(OLDEST) MULTIPROMPT_TEST_THREADS=2 $(NUMBERS)
	env $(AVX2) $(NUMBERS)
	env $(AVX2) MULTIPROMPT_TEST_THREADS=2 $(NUMBERS)
	$(NUMBERS)
	env MULTIPROMPT_TEST_THREADS=2 $(NUMBERS)

check: $(INSTALLED) ## Lint, formatting and types
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

format: $(INSTALLED) ## Put the code into its form
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

clean: ## Remove the environment and all caches
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .hypothesis build src/*.egg-info
