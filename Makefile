# Needs python3 (3.11 or later) with venv and pip; uses uv where it is installed.
VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin

.PHONY: demo test check bench format clean

demo: $(VENV)/ready                ## set everything up and run the main job on the packaged sample
	$(BIN)/curate demo

test: $(VENV)/ready $(VENV)-s3/ready  ## set everything up and pass all tests
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
	rm -rf $(VENV) $(VENV)-s3 build dist *.egg-info runs

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

# An S3 server for the tests of object stores, by itself because its dependencies and ours contradict each other.
$(VENV)-s3/ready: tests/s3-requirements.txt
	@if command -v uv >/dev/null 2>&1; then \
	    test -x $(VENV)-s3/bin/python || uv venv --quiet --python "$$(command -v $(PYTHON))" $(VENV)-s3; \
	    uv pip install --quiet --python $(VENV)-s3/bin/python --requirement $<; \
	else \
	    test -x $(VENV)-s3/bin/python || $(PYTHON) -m venv $(VENV)-s3; \
	    $(VENV)-s3/bin/python -m pip install --quiet --requirement $<; \
	fi
	@touch $@
