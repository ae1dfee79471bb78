PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin

.PHONY: demo test lint types unit benchmarks clean

demo: $(VENV)/.demo
	$(RUN)/augury demo

test: lint types unit

lint: $(VENV)/.dev
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .

types: $(VENV)/.dev
	$(RUN)/basedpyright

# One BLAS thread a worker: with more, workers fight for the cores.
unit: $(VENV)/.dev
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 MKL_NUM_THREADS=1 $(RUN)/pytest -n auto --dist worksteal --cov --cov-report=term-missing:skip-covered --cov-fail-under=95

$(VENV)/bin/pip:
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Augury needs Python 3.11 or newer, and this is {v.major}.{v.minor}; try make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(VENV)/bin/pip pyproject.toml constraints.txt
	$(RUN)/pip install --quiet --constraint constraints.txt --editable '.[opensmile]'
	touch $@

$(VENV)/.dev: $(VENV)/bin/pip pyproject.toml constraints.txt
	$(RUN)/pip install --quiet --constraint constraints.txt --editable '.[opensmile,cluster,train,dev]'
	touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
