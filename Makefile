# `make demo` and `make test` are all a newcomer needs; both install what they use.
# `make test-all` runs the slow and stress tests too.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.PHONY: setup docs demo test test-all lint types imports format clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit("mollifier needs Python 3.11 or newer; set PYTHON=python3.x" if sys.version_info < (3, 11) else 0)'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

# The site, in out/docs: every code cell of its pages runs, and a warning is an error.
docs: $(VENV)/.docs
	OMP_NUM_THREADS=1 $(BIN)/sphinx-build --fail-on-warning --keep-going --quiet docs out/docs

demo: setup
	$(BIN)/mollifier demo heat --out out/heat

# Bytecode is kept: to compile package and tests anew takes seven seconds in each process.
test test-all: export PYTHONDONTWRITEBYTECODE =

# Examples of the benchmarks run benchmarks: they are left to `make test-all`, their tests are not.
test: setup lint types imports
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal tests src docs README.md

test-all: setup lint types imports
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist worksteal -m ""

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

imports: setup
	$(BIN)/lint-imports

types: setup
	$(BIN)/pyrefly check --min-severity error

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) out build dist
