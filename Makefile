# The two commands a new user needs: `make demo` and `make test`. Each sets up all it uses from pinned versions.
PYTHON ?= python3
VENV := .venv
# Three at once, for two cores, since tests also wait; file by file (tests/conftest.py). For one alone, call pytest as it is.
PYTEST = $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder
BIN := $(VENV)/bin
PIP = $(BIN)/python -m pip install --quiet --disable-pip-version-check
READY := $(VENV)/.ready

SEED ?=
WORLDS ?= 1
MINUTES ?= 10
WORLD ?=

.PHONY: setup demo test soak explore mutants faults check bench lock clean

setup: $(READY)  ## a virtual environment with the pinned versions and this project

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("kline-lakehouse needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make PYTHON=python3.11 ...") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade 'pip>=26'  # an old one takes twice as long to read the lock
	$(PIP) --no-compile --require-hashes -r requirements.lock
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY)  ## rehearse three hours of the whole pipeline, faults included
	$(BIN)/klines demo

test: $(READY)  ## the test suite, on a real Postgres (embedded, or DATABASE_URL), S3 server and sockets
	$(PYTEST)

soak: $(READY)  ## a simulated day of all exchanges, ten pairs each, every candle checked: some minutes
	$(BIN)/python -m tests.sim soak

explore: $(READY)  ## new worlds on virtual time, for MINUTES=10, from SEED=… on; WORLD='…' replays one
	$(BIN)/python -m tests.sim $(if $(WORLD),replay '$(WORLD)',explore --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)))

mutants: $(READY)  ## rules of the product taken out, one after another: the fixed worlds must notice each
	$(BIN)/python -m tests.sim mutants

faults: $(READY)  ## a thousand faults at every boundary, and what came of them: SEED=1 WORLDS=1
	$(BIN)/python -m tests.boundaries $(if $(SEED),--seed $(SEED)) --worlds $(WORLDS)

check: $(READY)  ## what must be green before a commit
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST)

bench: $(READY)  ## the numbers of docs/performance.md, as ratios measured in one run
	$(BIN)/python -m bench.hour_close
	$(BIN)/python -m bench.bad_lines
	$(BIN)/python -m bench.recorder
	$(BIN)/python -m bench.drain
	$(BIN)/python -m bench.status

lock: $(READY)  ## pin anew what pyproject.toml allows
	$(PIP) uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --extra dev --output-file requirements.lock pyproject.toml

clean:  ## everything that setup, demo and tests made
	rm -rf $(VENV) var *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
