# Two commands for a newcomer: `make demo` and `make test`. Both set up a .venv here.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
CHECKED := client training export tests benchmarks samples

.PHONY: demo test check format clean

demo: $(VENV)/.demo  ## predict the made-up brains in samples/ with the local engine
	$(BIN)/tumorctl predict samples --output results/demo
	@echo "Look at results/demo/overlays and results/demo/predictions.csv"

test: $(VENV)/.all  ## the tests
	tests/install_debian.sh
	$(BIN)/python -m pytest

check: $(VENV)/.all  ## formatting, lint, types, import rules, tests
	$(BIN)/ruff format --check $(CHECKED) model_repository
	$(BIN)/ruff check $(CHECKED) model_repository
	$(BIN)/mypy $(CHECKED)
	$(BIN)/mypy model_repository/segmentation_gate/1/model.py
	$(BIN)/lint-imports
	tests/install_debian.sh
	$(BIN)/python -m pytest

format: $(VENV)/.all  ## format the sources
	$(BIN)/ruff format $(CHECKED) model_repository
	$(BIN)/ruff check --fix $(CHECKED) model_repository

clean:  ## remove the environment and all that was made
	rm -rf $(VENV) results dist .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# What prediction needs, and nothing else.
$(VENV)/.demo: $(BIN)/python pyproject.toml
	$(PIP) install --quiet --editable '.[local]'
	@touch $@

$(VENV)/.all: $(BIN)/python pyproject.toml
	$(PIP) install --quiet --upgrade 'pip>=25.1'
	$(PIP) install --quiet --group dev --editable '.[all]'
	@touch $@ $(VENV)/.demo
