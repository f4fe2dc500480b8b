# make run   – the environment if needed, then the demo mission
# make test  – the environment if needed, then lint, types, import rules and tests
# make test-slow – real deaths under real runs, resumed runs, a soak of two hundred rounds; takes half an hour
# make walk  – the command blocks of README, quick start, tutorials and how-to pages, in a clean clone; takes a quarter of an hour
# make newcomer – a newcomer's way to an answer about a mission of one's own, in a clean clone; takes some minutes
# make audit – pins and floors against the stored list of known vulnerabilities, offline (part of lint)
# make test-compose – the emulation in containers (needs Docker)
PYTHON ?= python3
BIN := .venv/bin
ENVIRONMENT := .venv/.installed
DATA := $(wildcard ../shared/data)
export SKYSPLIT_DATA ?= $(abspath $(DATA))

.PHONY: run test test-slow test-compose walk newcomer lint audit
run: $(ENVIRONMENT)
	$(BIN)/skysplit run demo --compare

test: $(ENVIRONMENT) lint
	$(BIN)/python -m pytest -n 3 --dist worksteal -m "not slow and not compose"

test-slow: $(ENVIRONMENT)
	$(BIN)/python -m pytest -m slow

test-compose: $(ENVIRONMENT)
	$(BIN)/python -m pytest -m compose tests/docker

walk: $(ENVIRONMENT)
	$(BIN)/python tests/walk_pages.py

newcomer: $(ENVIRONMENT)
	$(BIN)/python tests/newcomer.py

audit: $(ENVIRONMENT)
	$(BIN)/python tests/audit_dependencies.py

lint: $(ENVIRONMENT) audit
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/vulture

# torch comes first and from the same constraints, so that no later step resolves another build of it.
$(ENVIRONMENT): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,docs,fast,boinor,hub,onnx,tensorboard]'
	touch $@
