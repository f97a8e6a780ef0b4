# make demo    the main job on scikit-learn's digits, in its own environment; pictures: README's, of what it found
# make test    the tests but the slow ones, in 8 minutes on 2 cores; test-all runs every test; lint; bench; coverage
# make test-faults  the tests of what dies, hangs, is full or is not there
# make wheels  both distributions, into dist; api: pages of the public names, into build/api; lock: constraints.txt and
#              cluster/requirements.txt anew
VENV := .venv
PYTHON := $(VENV)/bin/python
DEMO := demo-results

.PHONY: help demo pictures test test-all test-faults coverage lint format api lock wheels bench clean
.DEFAULT_GOAL := help

help:
	@grep -E '^# make' Makefile | sed 's/^# //'

# Installed once; again only when what is to be installed changed.
$(VENV)/.installed: pyproject.toml packages/moda-core/pyproject.toml constraints.txt
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e packages/moda-core -e '.[dev]'
	@touch $@

demo: $(VENV)/.installed
	@BIN=$(VENV)/bin RESULTS=$(DEMO) sh docs/examples/demo.sh

# Of the demo's front, report and terminal, into docs; needs Chromium.
pictures: demo
	PYTHONPATH=. $(PYTHON) docs/pictures.py $(DEMO)/storage demo

test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest --numprocesses auto --maxprocesses 4

test-all: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest -m 'slow or not slow' --numprocesses auto --maxprocesses 4

test-faults: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest tests/faults -m 'slow or not slow'

# Which lines the tests that run in one process reach; what workers of Ray and other processes run is not counted.
coverage: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(PYTHON) -m pytest --numprocesses auto --maxprocesses 4 --cov --cov-report=term:skip-covered

lint: $(VENV)/.installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/typos

format: $(VENV)/.installed
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

api: $(VENV)/.installed
	$(VENV)/bin/sphinx-build --fail-on-warning --keep-going --quiet docs/api build/api

# Pins are kept where the ranges allow them: delete lines of constraints.txt, or all, to get newer releases.
# cluster/requirements.txt leaves out what torch's wheels with CUDA name by themselves: a torch without it needs none.
lock: $(VENV)/.installed
	$(VENV)/bin/uv pip compile pyproject.toml --all-extras --universal --strip-extras --no-annotate --quiet \
		--no-emit-package moda-core --no-emit-package moda-orchestrator \
		--custom-compile-command 'make lock' --output-file constraints.txt
	$(VENV)/bin/uv pip compile pyproject.toml --extra orchestrator --universal --strip-extras --no-annotate --quiet \
		--no-emit-package moda-core --no-emit-package moda-orchestrator --constraint constraints.txt \
		--custom-compile-command 'make lock' --output-file cluster/requirements.txt
	sed -i -E '/^(cuda|nvidia|triton)/d' cluster/requirements.txt

# --no-build-isolation: setuptools is there already, and the network is not asked.
wheels: $(VENV)/.installed
	$(VENV)/bin/pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist packages/moda-core .

bench: $(VENV)/.installed
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e packages/moda-core -e '.[bench]'
	for file in tests/benchmarks/*.py; do $(PYTHON) $$file; done

clean:
	rm -rf $(VENV) $(DEMO)
