# Every target does its own set-up. `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help setup demo test unit scenarios lint format render bench ci clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready ## Make the Python environment in .venv from the locked dependencies

$(VENV)/.ready: requirements.lock requirements-uv.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and "Python 3.11 or newer is needed, this is %d.%d: call make with PYTHON=/path/to/python3.11" % v[:2])'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "python3 -m venv does not work here: on Debian, apt-get install python3-venv" >&2; exit 1; }
	@echo "Installing the locked dependencies into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.lock
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

demo: setup ## One webhook, one measured failover on this machine (KEEP=1 leaves the platform running)
	@tiphys demo $(if $(KEEP),--keep)

test: setup ## All tests: units, then whole runbooks against real MySQL, Router and S3
	@pytest

unit: setup ## The quick tests only
	@pytest tests/unit

scenarios: setup ## Whole runbooks on a local platform of their own
	@pytest tests/scenarios

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

bench: setup ## Measure, one JSON line each (needs a running platform: tiphys up)
	@for file in bench/*.py; do python $$file || exit 1; done

ci: lint ## What CI runs: lint, manifests up to date, all tests
	@tiphys render --check
	@pytest

clean: ## Remove the Python environment and caches (the platform's state stays: tiphys down --purge)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache build dist *.egg-info
