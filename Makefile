# Two commands for a newcomer: `make demo` and `make test`. Both set up a .venv here.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
CHECKED := client training export deploy tests benchmarks samples

.PHONY: demo test check format images gpu-acceptance clean

demo: $(VENV)/.demo  ## predict the made-up brains in samples/ with the local engine
	$(BIN)/tumorctl predict samples --output results/demo
	@echo "Look at results/demo/overlays and results/demo/predictions.csv"

test: $(VENV)/.all $(VENV)/.tools  ## the tests
	tests/install_debian.sh
	$(BIN)/python -m pytest

check: $(VENV)/.all $(VENV)/.tools  ## formatting, lint, types, import rules, tests
	$(BIN)/ruff format --check $(CHECKED) model_repository
	$(BIN)/ruff check $(CHECKED) model_repository
	$(BIN)/mypy $(CHECKED)
	$(BIN)/mypy model_repository/segmentation_gate/1/model.py
	$(BIN)/lint-imports
	tests/install_debian.sh
	$(BIN)/python -m pytest

gpu-acceptance: $(VENV)/.acceptance  ## on a GPU server: engines, Triton, parity, throughput; ARGS="--cpu" anywhere
	$(BIN)/python benchmarks/acceptance.py $(ARGS)

format: $(VENV)/.all  ## format the sources
	$(BIN)/ruff format $(CHECKED) model_repository
	$(BIN)/ruff check --fix $(CHECKED) model_repository

images:  ## the container images, with Docker's buildx; REGISTRY names them, PUSH=1 pushes them
	REVISION=$$(git rev-parse HEAD) docker buildx bake --file deploy/docker/bake.hcl $(if $(PUSH),--push)

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

# Helm and its like for the tests of deploy/; what cannot be had is said, and its tests are skipped.
$(VENV)/.tools: $(BIN)/python tests/deploy/install_tools.sh
	@tests/deploy/install_tools.sh $(VENV) && touch $@ || true

# What the acceptance needs beside NVIDIA's containers; --cpu also needs the embedded server.
$(VENV)/.acceptance: $(BIN)/python pyproject.toml
	$(PIP) install --quiet --editable '.[serve]' 'onnx>=1.17' 'onnxruntime>=1.20'
	@touch $@
