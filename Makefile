# make demo    the main job on scikit-learn's digits, in its own environment
# make test    the tests but the slow ones, in 8 minutes on 2 cores; test-all runs every test; lint; bench
VENV := .venv
PYTHON := $(VENV)/bin/python
DEMO := demo-results

.PHONY: help demo test test-all lint format bench clean
.DEFAULT_GOAL := help

help:
	@grep -E '^# make' -A 1 Makefile | sed 's/^# //'

# Installed once; again only when what is to be installed changed.
$(VENV)/.installed: pyproject.toml constraints.txt
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(VENV)/.installed
	@BIN=$(VENV)/bin RESULTS=$(DEMO) sh docs/examples/demo.sh

test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest --numprocesses auto --maxprocesses 4

test-all: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -m 'slow or not slow' --numprocesses auto --maxprocesses 4

lint: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

format: $(VENV)/.installed
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: $(VENV)/.installed
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	for file in tests/benchmarks/*.py; do $(PYTHON) $$file; done

clean:
	rm -rf $(VENV) $(DEMO)
