# make demo | test | native | check | fix | docs | pictures | bench | bench-loader. Needs Python 3.11 or later; everything else goes
# into .venv, from the package index that pip is set up for, at the versions in constraints.txt.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.PHONY: demo test slow native check fix docs pictures bench bench-loader

# Compiled modules are kept, whatever the machine says: importing torch and mlflow takes a third.
export PYTHONDONTWRITEBYTECODE :=

VENV := .venv
BIN := $(VENV)/bin
PYTHON := $(shell for python in python3 python3.11 python3.12 python3.13; do \
	"$$python" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& { command -v "$$python"; break; }; done)
# One computer, one cache: files are linked into .venv, not copied, wherever the disk allows it.
INSTALL := $(BIN)/uv pip install --quiet --python $(BIN)/python --constraints constraints.txt
# In CI a test that was skipped is a failure: see tests/ci_skips.py.
PYTEST := PYTHONPATH=tests $(BIN)/python -m pytest -p ci_skips

demo: $(VENV)/.ready-to-run
	$(BIN)/besana demo

# Two files at a time: most of these tests wait for a process, a server or a page now and then.
test: $(VENV)/.ready-to-develop
	$(PYTEST) -n 2 --dist loadfile

slow: $(VENV)/.ready-to-develop $(VENV)/.ready-for-peers
	# TensorFlow and torch's Triton end a process that loads both, so the shards have their own.
	$(PYTEST) -m slow tests/shards || failed=yes; \
	$(PYTEST) -m slow -n 2 --dist loadfile --ignore=tests/shards && test -z "$${failed:-}"

# What fills the loader's batches without the interpreter: needs Rust, cmake, nasm, a C compiler.
native: $(VENV)/.ready-to-develop
	PATH="$$PATH:$$HOME/.cargo/bin" $(INSTALL) --reinstall-package besana-native ./native

check: $(VENV)/.ready-to-develop
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(VENV)/.ready-to-develop
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.ready-to-develop
	$(BIN)/sphinx-build -W --keep-going --quiet docs docs/_build/html
	@echo "docs/_build/html/index.html"

# The pictures of pages in the docs, made anew from a simulated barn by the tests that hold them.
pictures: $(VENV)/.ready-to-develop
	BESANA_PICTURES=docs/images $(PYTEST) -m slow tests/web/test_page_pictures.py

# make bench SCRIPT="catalog.py --frames 1000000"; without SCRIPT, what there is.
bench: $(VENV)/.ready-to-develop
	$(if $(SCRIPT),$(BIN)/python benchmarks/$(SCRIPT),@head -qn1 benchmarks/*.py | paste <(ls benchmarks/*.py) -)

# PEERS=folder of an environment with the loaders to compare with: docs/reference/benchmarks-loader.md.
bench-loader: $(VENV)/.ready-to-develop
	$(BIN)/python benchmarks/loader/run.py $(if $(PEERS),--python "$(abspath $(PEERS))/bin/python")

# What `besana demo` needs, and the pages and the server that people try next; edits take effect at once.
$(VENV)/.ready-to-run: pyproject.toml constraints.txt Makefile | $(BIN)/uv
	$(INSTALL) --editable ".[train,serve]"
	touch $@

# The same, and what tests, checks and docs need.
$(VENV)/.ready-to-develop: pyproject.toml constraints.txt Makefile | $(BIN)/uv
	$(INSTALL) --editable ".[all]" --group test --group lint --group docs
	touch $(VENV)/.ready-to-run $@

# Loaders of others, for the tests that they read our shards.
$(VENV)/.ready-for-peers: pyproject.toml constraints.txt Makefile | $(VENV)/.ready-to-develop
	$(INSTALL) --group peers
	touch $@

$(BIN)/uv:
	@[ -n "$(PYTHON)" ] || { echo "besana needs Python 3.11 or later with venv and pip;" \
		"on Debian: apt-get install python3 python3-venv" >&2; exit 1; }
	[ -x $(BIN)/pip ] || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
