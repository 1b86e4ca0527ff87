# Everything happens in .venv; nothing else of the machine is touched. What running needs is installed first (READY);
# the tools for tests, style and types follow when they are first used (TOOLS).
PYTHON ?= $(firstword $(foreach name,python3.13 python3.12 python3.11 python3,$(if $(shell $(name) -c 'import sys; print(sys.version_info >= (3, 11) or "")' 2>/dev/null),$(name))))
READY := .venv/.ready
TOOLS := .venv/.tools
HUB := .venv/bin/notes-hub
PIP := .venv/bin/python -m pip install -q --disable-pip-version-check

help: ## Show what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

setup: $(TOOLS) assets ## Install everything into .venv, and prepare what the page runs on
assets: $(READY) ## Prepare what the page runs on, if it has changed
	@.venv/bin/python web/build.py web/dist
run: assets ## Run the hub on http://127.0.0.1:8080 (ARGS="--port 9000")
	@exec $(HUB) serve $(ARGS)
wheel: assets ## Build the wheel, with all that the page needs, into dist
	rm -rf build
	.venv/bin/python -m pip wheel -q --disable-pip-version-check --no-deps --no-build-isolation -w dist .
	rm -rf build
test: lint assets ## Run all tests (ARGS="-k name")
	.venv/bin/python -m pytest -n 3 --maxschedchunk 1 $(ARGS)
lint: $(TOOLS) ## Check style, types and the order of the modules
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
faults: $(TOOLS) ## Prove that nothing is lost, under faults (ARGS="--seeds 3")
	.venv/bin/python -m tests.faults $(ARGS)
bench: $(TOOLS) ## Measure the hub beside its peers; some minutes (ARGS="storm stall")
	.venv/bin/python -m bench $(ARGS)
bench-full: $(TOOLS) ## The same with more clients and more rounds
	.venv/bin/python -m bench --full $(ARGS)
format: $(TOOLS) ## Lay out the code
	.venv/bin/ruff check --fix . ; .venv/bin/ruff format .
pin: $(TOOLS) ## Write the constraints files anew from setup.cfg
	.venv/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-header -U setup.cfg -o constraints.txt
	.venv/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-header -U --extra dev -c constraints.txt setup.cfg -o constraints-dev.txt
	.venv/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-header -U bench/peers/requirements.in -o bench/peers/requirements.txt
clean: ## Remove what was made; your notes in .notes-hub stay
	rm -rf .venv .web .bench web/dist build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

# The build tool is in the list of tools, with its hashes; only it is needed to install the hub itself.
$(READY): constraints.txt setup.cfg pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed; found: $$(python3 --version 2>&1)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "$(PYTHON) cannot make virtual environments; on Debian: apt install python3-venv" >&2; exit 1; }
	@echo "making .venv with $(PYTHON)"
	@$(PYTHON) -m venv .venv
	@echo "installing the hub and what it runs on, a Postgres included (constraints.txt)"
	@awk '/^setuptools==/ {found = 1} found {print} found && !/\\$$/ {exit}' constraints-dev.txt > .venv/build.txt
	@$(PIP) --require-hashes -r constraints.txt -r .venv/build.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(TOOLS): $(READY) constraints-dev.txt
	@echo "installing the tools for tests, style and types (constraints-dev.txt)"
	@$(PIP) --require-hashes -r constraints-dev.txt
	@touch $@

.DEFAULT_GOAL := help
.PHONY: help setup assets run wheel test lint faults bench bench-full format pin clean
