# Two commands matter: `make up` serves, `make test` tests. `make help` lists the others.
# Written for make 3.81, which is what macOS has.

PYTHON ?= python3
UV ?= uv
ARGS ?=
PYTEST_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
MACHINE := $(shell tools/machine.sh)
LOCK := requirements/$(MACHINE).txt
READY := $(VENV)/.ready-$(MACHINE)
DEV_READY := $(VENV)/.ready-dev
DOCS_READY := $(VENV)/.ready-docs
# What is imported is compiled when it first is: to compile all that is installed takes half of the time.
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
# The locks are complete but for what pyproject.toml excludes, so pip has nothing to resolve.
SIDE_BY_SIDE := -n 2 --dist worksteal
# Neighbours share models that were loaded once, so a worker gets them in one piece and gives up what is left
# of it.
OF_PARTS := $(SIDE_BY_SIDE) -m "not model" --ignore=tests/e2e
# What is in there needs the starter model: reading it takes seconds, and nothing of it is run.
QUICK := $(SIDE_BY_SIDE) -m "not slow and not model" tests/unit tests/properties tests/house
# What computes with MLX or listens is left to `make test`.
OF_SERVERS := -n 2 --dist loadfile -m model --durations=10 tests/e2e tests/integration/api/test_agents.py
# Two processes with one thread of the BLAS each wait for less than one with two, or two.
ONE_THREAD := OPENBLAS_NUM_THREADS=1

unexport PYTHONDONTWRITEBYTECODE
# pytest rewrites every assertion before it compiles a test: ten seconds for each worker, if none is kept.

.DEFAULT_GOAL := help
.PHONY: help up test quick endurance check docs docs-site format lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' Makefile

up: $(READY) ## install what is needed, then serve (ARGS="--port 9000")
	@exec $(BIN)/allod up $(ARGS)

test: $(DEV_READY) ## all tests: first those of parts, then those with real servers
	@$(ONE_THREAD) $(BIN)/pytest -q $(OF_PARTS) $(PYTEST_ARGS)
	@$(ONE_THREAD) $(BIN)/pytest -q $(OF_SERVERS) $(PYTEST_ARGS)

endurance: $(DEV_READY) ## the tests that ask the same again and again, for longer than `make test` does
	@$(ONE_THREAD) $(BIN)/pytest -q -m endurance --endurance tests/integration tests/e2e $(PYTEST_ARGS)

quick: $(DEV_READY) ## the tests that fit into a minute
	@$(BIN)/pytest -q $(QUICK) --hypothesis-profile quick $(PYTEST_ARGS)

check: $(DEV_READY) ## format, lint, types, import contract, generated docs
	$(BIN)/ruff format --check src tests tools bench
	$(BIN)/ruff check src tests tools bench
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/python tools/generate_docs.py --check

format: $(DEV_READY) ## let ruff format
	$(BIN)/ruff format src tests tools bench
	$(BIN)/ruff check --fix src tests tools bench

docs: $(DEV_READY) ## write the generated parts of README, ARCHITECTURE and docs/
	$(BIN)/python tools/generate_docs.py

docs-site: docs $(DOCS_READY) ## build docs/ as a web site into site/
	$(BIN)/mkdocs build --strict --quiet

lock: ## resolve the pinned requirements anew (needs uv)
	@UV="$(UV)" tools/lock.sh

clean: ## remove the environment and everything built
	rm -rf $(VENV) dist site .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

# ---------------------------------------------------------------- environment
# Stamps, so that a second run starts at once. A lock or pyproject.toml that changed installs again.

$(BIN)/python:
	@tools/make_venv.sh "$(PYTHON)" "$(VENV)"

$(READY): $(LOCK) pyproject.toml | $(BIN)/python
	@echo "installing $(LOCK) into $(VENV)"
	@$(PIP_INSTALL) --no-deps --require-hashes -r $(LOCK)
	@$(PIP_INSTALL) --no-deps --no-build-isolation -e .
	@touch $@

$(DEV_READY): requirements/dev.txt $(READY)
	@echo "installing requirements/dev.txt into $(VENV)"
	@$(PIP_INSTALL) --no-deps --require-hashes -r requirements/dev.txt
	@touch $@

$(DOCS_READY): requirements/docs.txt $(READY)
	@echo "installing requirements/docs.txt into $(VENV)"
	@$(PIP_INSTALL) --no-deps --require-hashes -r requirements/docs.txt
	@touch $@
