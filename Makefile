# Everything starts from Python 3.11+, make and a package index.
PYTHON ?= python3
PORT ?= 8000
CHECKPOINT ?= runs/quickstart
DATA ?=

BIN := .venv/bin
READY := .venv/.ready
.PHONY: setup serve test test-fast test-slow lint benchmark clean

setup: $(READY)  ## the environment, from the lock file

$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), f"Python 3.11 or newer is needed, this is {sys.version}"'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(READY)

serve: $(READY)  ## train the quickstart checkpoint if there is none, then serve it
	@if [ "$(CHECKPOINT)" = runs/quickstart ] && [ ! -f runs/quickstart/config.json ]; then \
		$(BIN)/textcnn-train --config training/configs/quickstart.yaml --output_dir runs/quickstart --overwrite_output_dir; fi
	$(BIN)/textcnn-serve --checkpoint $(CHECKPOINT) --port $(PORT)

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Tests run networks of a few filters: handing those to a second thread costs more than it brings.
test-fast test-slow: export OMP_NUM_THREADS = 1

test-fast: lint  ## linters and the fast tests, under 3 minutes
	$(BIN)/pytest -m "not slow"

test-slow: $(READY)  ## real servers, several processes, long runs
	$(BIN)/pytest -m slow

test: test-fast test-slow  ## everything

benchmark: $(READY)  ## latency, training, accuracy and load: make benchmark DATA=folder
	$(BIN)/python -m benchmarks --data "$(DATA)"

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
