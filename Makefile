# Every target does its own set-up. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
unexport PYTHONDONTWRITEBYTECODE
export PATH := $(CURDIR)/$(BIN):$(PATH)
PYTEST := pytest
# CI ends by itself, with a word, long before anybody's patience does: TERM first, so that fixtures stop what they
# started. One test that fails gets one more try; the end of the log shows every such test and why it failed.
CI_PYTEST := timeout --foreground --verbose --signal=TERM --kill-after=3m 60m \
	pytest --reruns 1 --rerun-show-tracebacks --max-suite-reruns 5 --durations 10

.DEFAULT_GOAL := help
.PHONY: help setup demo cluster test unit scenarios e2e lint format render bench ci clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready ## Make .venv from the locked dependencies

$(VENV)/.ready: requirements.lock requirements-uv.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and "Python 3.11 or newer is needed, this is %d.%d: call make with PYTHON=/path/to/python3.11" % v[:2])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "python3 -m venv does not work here: on Debian, apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing the locked dependencies into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

demo: setup ## One webhook, one measured failover (KEEP=1 leaves it running)
	@tiphys demo $(if $(KEEP),--keep)

cluster: setup ## A cluster in Docker, by kind, with Argo and MySQL Operator
	@python -m tiphys.install.kind

# Side by side, since they mostly wait; lines of all but the first carry a mark.
test: setup ## All tests: units in two halves and scenarios, side by side
	@$(MAKE) --no-print-directory -j3 unit-odd unit-even scenarios

UNITS := $(sort $(wildcard tests/unit/test_*.py))
unit-odd: setup
	@$(PYTEST) $(shell printf '%s\n' $(UNITS) | awk 'NR % 2')
unit-even: setup
	@$(PYTEST) $(shell printf '%s\n' $(UNITS) | awk 'NR % 2 == 0') 2>&1 | { trap '' INT; sed -u 's/^/units | /'; }

unit: setup ## The quick tests only
	@$(PYTEST) tests/unit

scenarios: setup ## Whole runbooks: real MySQL, Router and S3
	@$(PYTEST) tests/scenarios 2>&1 | { trap '' INT; sed -u 's/^/scenarios | /'; }

# Only a cluster that was named here: one that a person's KUBECONFIG happens to name must not lose a node to tests.
e2e: setup ## Against a real cluster, whose first node is drained: make e2e KUBECONFIG=...
	@TIPHYS_E2E_KUBECONFIG='$(if $(findstring command,$(origin KUBECONFIG)),$(KUBECONFIG))' $(PYTEST) tests/cluster

lint: setup ## Style, types, layers between folders
	@ruff check .
	@ruff format --check .
	@mypy
	@lint-imports

format: setup ## Bring the code into the project's format
	@ruff format .
	@ruff check --fix .

render: setup ## Write manifests/ from workflows/, eventsources/ and sensors/
	@tiphys render

bench: setup ## Measure, one JSON line each (needs tiphys up and a cluster demo)
	@for file in bench/*.py; do python $$file || exit 1; done

ci: lint ## What CI runs: lint, manifests, all tests
	@tiphys render --check
	@$(MAKE) --no-print-directory test PYTEST='$(CI_PYTEST)'

clean: ## Remove the Python environment and its caches
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist *.egg-info
