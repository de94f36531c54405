# Needs python3 (3.11 or later) with venv and pip; uses uv where it is installed.
VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: demo test check bench format clean

demo: $(VENV)/ready                ## set everything up and run the main job on the packaged sample
	$(BIN)/curate demo

test: $(VENV)/ready                ## set everything up and pass all tests
	$(BIN)/python -m pytest

check: $(VENV)/ready               ## style, types, docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_docs.py

bench: $(VENV)/ready               ## measure speed and write docs/benchmarks.md
	$(BIN)/python benchmarks/speed.py

format: $(VENV)/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist *.egg-info runs

# The environment, made anew when what it is made from changes.
$(VENV)/ready: pyproject.toml constraints.txt
	@if command -v uv >/dev/null 2>&1; then \
	    test -x $(BIN)/python || uv venv --quiet --python "$$(command -v $(PYTHON))" $(VENV); \
	    uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'; \
	else \
	    test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); \
	    $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'; \
	fi
	@touch $@
