# make demo and make test need nothing but Python 3.10 or newer: each makes .venv and installs what it needs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SYSTEM_PACKAGES := tests/services/system-packages.txt

.PHONY: help demo test check format install system-deps benchmark benchmark-policies benchmark-sites experiment clean

help: ## This list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 20

demo: $(VENV)/.demo ## Fit measured X-ray spectra at two local endpoints
	$(BIN)/python notebooks/demo.py

test: $(VENV)/.complete ## All tests
	$(BIN)/python -m pytest -q -n 3 --dist worksteal

check: $(VENV)/.complete ## Format, lint, types, who may import whom, and the documentation
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/unit/test_imports.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: $(VENV)/.complete ## Format the code and mend what lint can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

benchmark: $(VENV)/.complete ## Overhead beside Parsl and the standard library, in one run
	$(BIN)/python -m tests.benchmarks.overhead

benchmark-policies: $(VENV)/.complete ## How well and how quickly policies decide, in simulation
	$(BIN)/python -m tests.benchmarks.policies

benchmark-sites: $(VENV)/.complete ## Reaction and utilization at three real Slurm clusters at once
	$(BIN)/python -m tests.benchmarks.sites

experiment: $(VENV)/.complete ## Two light sources feed three Slurm clusters, with figures
	$(BIN)/python -m tests.experiments.light_sources

install: $(VENV)/.complete ## The environment for development

system-deps: ## With apt: the system software some tests need
	@test -x "$$(command -v apt-get)" || { echo "make system-deps needs apt-get; install the packages named in $(SYSTEM_PACKAGES) yourself" >&2; exit 1; }
	as_root=; test "$$(id -u)" = 0 || as_root=sudo; \
	$$as_root apt-get update -q && \
	sed 's/#.*//' $(SYSTEM_PACKAGES) | xargs $$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends python3-venv

clean: ## Remove the environment and what the tools left
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "Python 3.10 or newer is needed: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.complete: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[all,dev]'
	touch $(VENV)/.demo $@

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[service,endpoint,demo]'
	touch $@
