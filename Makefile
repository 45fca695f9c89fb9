# One command for each habit. Every target does its own set-up; `make help` lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
READY  := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo up test bench simulate chaos soak fuzz lock clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 16

# torch first and on its own: where the locked CPU build is not to be had, pip takes the one it finds, with what it needs.
$(READY): requirements/requirements.lock requirements/torch.lock pyproject.toml
	@echo "Installing the locked environment into $(VENV) (once, about 3 minutes)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install -qq --require-hashes --no-deps -r requirements/torch.lock || $(PIP) install -q torch==2.13.0
	@$(PIP) install -qq --require-hashes --no-deps -r requirements/requirements.lock
	@$(PIP) install -qq --no-deps --no-build-isolation -e .
	@$(BIN)/python -c 'import torch, vllm, pollux_dagster'
	@touch $@

demo: $(READY) ## run the pipeline on the packaged data and print the results
	@$(BIN)/pollux demo

up: $(READY) ## open the Dagster UI with the packaged data on http://127.0.0.1:3000
	@$(BIN)/pollux up --demo

test: $(READY) ## ruff, mypy --strict and the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

bench: $(READY) ## our judge client against vLLM's own load generator, same server, same prompts
	$(BIN)/python bench/judge_throughput.py

simulate: $(READY) ## do the intervals hold? tables and plots of docs/statistics, about 5 minutes
	$(BIN)/python tools/simulate.py
	$(BIN)/python tools/simulate_plots.py

chaos: $(READY) ## kill, fill, damage and delay everything, on vLLM, and compare the tables; at most 20 minutes
	$(BIN)/python tests/chaos --minutes 19

soak: $(READY) ## a real pollux up: drops, edits, deletions, broken files, kills, then rest; about 20 minutes
	$(BIN)/python tests/flow/soak.py

fuzz: $(READY) ## coverage-guided fuzzing of every reader (atheris), about 8 minutes
	@$(PIP) install -qq atheris==3.0.0
	$(BIN)/python tests/fuzz/fuzz.py --seconds 60

lock: ## resolve the lock file again (needs uv)
	uv pip compile pyproject.toml --extra ui --extra postgres requirements/cpu.in requirements/dev.in \
	  --constraints requirements/constraints.txt --overrides requirements/overrides.txt \
	  --python-version 3.11 --universal --generate-hashes --no-annotate --no-header -o requirements/requirements.lock

clean: ## remove the environment and every result
	rm -rf $(VENV) .pollux
