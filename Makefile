# Two commands do everything: `make demo` shows the main job, `make test` checks it. They need python3 (3.11 to 3.13) and make.
PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
PYTEST_ARGS ?= -n auto --maxprocesses 4 --dist loadgroup --durations 25

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
GOAL := $(firstword $(MAKECMDGOALS) demo)

.PHONY: help demo test test-long docs install clean
.DELETE_ON_ERROR:

help:
	@echo "make demo     set up, then locate photos of a made-up town (and of real imagery, if GEO_DATA or ../shared/data is there)"
	@echo "make test     set up, then ruff, mypy, import-linter and every test"
	@echo "make test-long  set up, then the tests that start clusters and break them (an hour; as root, on Linux)"
	@echo "make docs     set up, then run the notebooks and build the documentation into site/ (open site/index.html)"
	@echo "make install  set up only, into $(VENV)"
	@echo "make clean    remove what these made, $(VENV) too"
	@echo "Another Python: make demo PYTHON=python3.12. Options for pip: make demo PIP_ARGS='...'"

demo: $(STAMP)
	$(BIN)/geo demo --out demo-out

test: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest $(PYTEST_ARGS)

test-long: $(STAMP)
	$(BIN)/pytest -m cluster_long --durations 25

docs: $(STAMP)
	$(BIN)/python docs/_hooks/run_notebooks.py build/notebooks docs/notebooks/*.ipynb
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

install: $(STAMP)

# Made again when the dependencies change; a half-made environment is made anew.
$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "crossgeo: no $(PYTHON) here; install Python 3.11, 3.12 or 3.13, or name one: make $(GOAL) PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || { \
	  echo "crossgeo: needs Python 3.11, 3.12 or 3.13, and $(PYTHON) is $$($(PYTHON) --version 2>&1); name another: make $(GOAL) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "crossgeo: $(PYTHON) cannot make environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@$(BIN)/python -c 'import pip' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing crossgeo and its libraries into $(VENV): about 1.5 GB, some minutes the first time."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) build dist site demo-out *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
