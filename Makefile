# The newcomer's two commands are `make demo` and `make test`; `make help` lists the rest.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# Three tests at once, on two processors too: half of the time they wait for servers and disks.
PARALLEL := -n 3 --dist worksteal

# What is installed is not compiled beforehand: where Python may not keep what it compiles, every
# process would compile all that it imports, for seconds.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup viewer demo test test-all test-damage check format bench clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## make .venv with everything in it

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "microtome needs Python 3.11 or newer: make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	@# The pip that comes with older Pythons takes minutes to choose among so many packages.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade pip
	@# Python compiles what it imports; to compile all at once takes longer than the rest.
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt -e '.[dev]'
	@touch $@

VIEWER := service/microtome_service/static/viewer/build.json

viewer: $(VIEWER) ## build the 3-D viewer, Neuroglancer (needs Node.js and npm)

$(VIEWER): $(wildcard clients/viewer/*.mjs clients/viewer/*.json clients/viewer/icons/*.svg)
	cd clients/viewer && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	cd clients/viewer && npm run --silent build

demo: $(READY) ## make a sample brain, ingest, serve and cut it (ONCE=1 stops; SOURCE=my.tif ARGS='--axes zyx'; PORT=8000)
	@if command -v npm > /dev/null; then $(MAKE) --silent viewer \
	    || echo "the viewer could not be built: the demo comes without it"; \
	  else echo "npm is not installed: the demo comes without its 3-D viewer"; fi
	@$(BIN)/microtome demo $(if $(SOURCE),--source '$(SOURCE)') $(if $(ONCE),--once) $(if $(PORT),--port $(PORT)) $(ARGS)

test: $(READY) ## run the tests that are not slow
	$(BIN)/python -m pytest $(PARALLEL) -m 'not slow and not exhaustive' $(ARGS)

test-all: $(READY) ## run the tests, the slow and the exhaustive ones too
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

test-damage: $(READY) ## damage every sample in 210 ways (needs MICROTOME_SAMPLES)
	$(BIN)/python -m pytest $(PARALLEL) -m exhaustive $(ARGS)

check: $(READY) ## format, lint, types, import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## measure beside other engines, one table
	$(BIN)/python tests/benchmarks/run.py $(ARGS)

clean: ## remove the environment and everything made
	rm -rf .venv dist demo bench .mypy_cache .ruff_cache .pytest_cache .hypothesis
