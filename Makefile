# `make train` and `make test` need nothing but Python 3.11 or newer.
# PYTHON=python3.12 picks the interpreter, VENV=/path uses an environment of yours (with the torch build of your GPU).
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.throughtime

.PHONY: train test check
train: $(READY)
	$(BIN)/python train.py $(ARGS)

test: check
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist worksteal $(ARGS)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(READY): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@
