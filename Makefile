# One command for each habit. Every target does its own set-up; `make help` lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
READY  := $(VENV)/.ready
# pip names 230 packages and then writes for minutes without a word: a line for every twentieth, and one for the rest.
COUNTED := awk '/^Collecting/ { if (++n % 20 == 0) print "  " n " found, the last one " $$2 } \
	/^Installing/ { print "  all downloaded, now they are written to disk"; fflush() } /^ERROR/ { print } { fflush() }'
SHELL := /bin/bash -o pipefail
# What was installed without bytecode is compiled at its first import. Where this variable forbids to keep the result, as
# images for containers do, every process would compile it again: two seconds for Dagster alone.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo up test test-slow build bench simulate chaos soak fuzz docs lock clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 16

# torch first and on its own: where the locked CPU build is not to be had, pip takes the one it finds, with what it needs.
# Nothing is compiled at installation: most modules are never imported, and Python compiles the others when they are.
$(READY): requirements/requirements.lock requirements/torch.lock pyproject.toml
	@echo "Installing the locked environment into $(VENV): once; 3.6 GB on disk, 3 to 11 minutes"
	@$(PYTHON) -m venv $(VENV)
	@echo "1 of 3: torch"
	@$(PIP) install -qq --no-compile --require-hashes --no-deps -r requirements/torch.lock || $(PIP) install -q torch==2.13.0
	@echo "2 of 3: $$(grep -c '==' requirements/requirements.lock) packages"
	@$(PIP) install --no-compile --progress-bar off --require-hashes --no-deps -r requirements/requirements.lock | $(COUNTED)
	@echo "3 of 3: this project"
	@$(PIP) install -qq --no-deps --no-build-isolation -e .
	@$(BIN)/python -c 'import torch, vllm, pollux_dagster'
	@touch $@

demo: $(READY) ## run the pipeline on the packaged data and print the results
	@$(BIN)/pollux demo

up: $(READY) ## open the Dagster UI with the packaged data on http://127.0.0.1:3000
	@$(BIN)/pollux up --demo

# Tests that wait for servers leave the processors idle for about as long as mypy takes.
test: $(READY) ## ruff, mypy --strict and the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@mkdir -p build
	@echo "mypy checks the types meanwhile; what it finds stands below the tests"
	@$(BIN)/mypy >build/mypy.txt 2>&1 & types=$$!; \
	  $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 25 -m "not slow"; tests=$$?; \
	  wait $$types; checked=$$?; cat build/mypy.txt; test $$tests = 0 -a $$checked = 0

test-slow: $(READY) ## the tests that take long and seldom tell more: kills, whole runs on vLLM, browsers
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 25 -m slow

build: $(READY) ## wheel and sdist in dist/
	@rm -rf build dist
	$(BIN)/python -m build --no-isolation --outdir dist
	@rm -rf build
	@ls -l dist

bench: $(READY) ## the judging client beside other clients, on a server that answers at once; about 15 minutes
	$(BIN)/python -m bench.judge_throughput

simulate: $(READY) ## do the intervals hold? tables and plots of docs/reference/statistics, about an hour
	$(BIN)/python -m tools.simulate
	$(BIN)/python -m tools.simulate_plots

chaos: $(READY) ## kill, fill, damage and delay everything, on vLLM, and compare the tables; at most 20 minutes
	$(BIN)/python -m tests.chaos --minutes 19

soak: $(READY) ## a real pollux up: drops, edits, deletions, broken files, kills, then rest; about 20 minutes
	$(BIN)/python -m tests.flow.soak

fuzz: $(READY) ## coverage-guided fuzzing of every reader (atheris), about 8 minutes
	@$(PIP) install -qq atheris==3.0.0
	$(BIN)/python -m tests.fuzz.fuzz --seconds 60

docs: .venv-docs/.ready ## the documentation as a site in build/site, every link checked
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet
	@echo "open build/site/index.html"

.venv-docs/.ready: requirements/docs.lock
	@$(PYTHON) -m venv .venv-docs
	@.venv-docs/bin/python -m pip --disable-pip-version-check install -qq --require-hashes --no-deps -r requirements/docs.lock
	@touch $@

lock: ## resolve the lock file again (needs uv)
	uv pip compile pyproject.toml --extra ui --extra remote --extra openlineage --extra postgres requirements/cpu.in requirements/dev.in \
	  --constraints requirements/constraints.txt --overrides requirements/overrides.txt \
	  --python-version 3.11 --universal --generate-hashes --no-annotate --no-header -o requirements/requirements.lock
	uv pip compile requirements/docs.in --python-version 3.11 --universal --generate-hashes --no-annotate --no-header \
	  -o requirements/docs.lock

clean: ## remove the environment and every result
	rm -rf $(VENV) .venv-docs .pollux build dist
