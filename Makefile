# make demo    set everything up in .venv and render out/breakout.mp4, the explanation video of the shipped agent
# make test    set everything up and run the tests; TESTS="-k ledger" narrows them
# make test-foreign   the tests that need other agents' libraries, in an environment of their own (.venv-foreign)
# make lint    ruff and mypy
# make bench   the speed tables of experiments/benchmarks
# make clean   remove .venv, out and the caches
#
# PYTHON=python3.12   the interpreter that builds .venv (3.11 or newer)
# TORCH_INDEX=<url>   one more package index for torch, for example PyTorch's index of CPU builds
#
# Every path below is relative, so a checkout whose path contains spaces works.

PYTHON ?= python3
TORCH_INDEX ?=
TESTS ?=

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.ready
UNFINISHED := $(VENV)/.unfinished
FOREIGN := .venv-foreign
VIDEO := out/breakout.mp4

.DEFAULT_GOAL := help
.PHONY: help demo test test-foreign lint bench clean setup

help:
	@sed -n '/^# /s/^# //p; /^$$/q' Makefile

demo: $(STAMP)
	@mkdir -p out
	@$(VENV)/bin/seqxai atari video --seconds 30 --seed 6 --out $(VIDEO)
	@echo "The explanation video is $(VIDEO)"

test: $(STAMP)
	@$(PY) -m pytest -n auto --maxprocesses 8 --dist worksteal $(TESTS)

# Stable-Baselines3, sb3-contrib and tianshou write the files; tianshou alone brings 15 packages that nobody needs to explain an agent.
test-foreign: $(FOREIGN)/.ready
	@$(FOREIGN)/bin/python -m pytest -p no:cacheprovider tests/foreign $(TESTS)

$(FOREIGN)/.ready: pyproject.toml constraints-foreign.txt
	@command -v "$(PYTHON)" >/dev/null 2>&1 || { \
	  echo "make: no program '$(PYTHON)'; install Python 3.11 or newer, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@echo "Setting up $(FOREIGN); the first time this takes some minutes ..."
	@rm -rf $(FOREIGN) && "$(PYTHON)" -m venv $(FOREIGN)
	@$(FOREIGN)/bin/python -m pip install -qq --disable-pip-version-check \
	  $(if $(TORCH_INDEX),--extra-index-url "$(TORCH_INDEX)") -c constraints-foreign.txt -e '.[rl,foreign]'
	@touch $@

lint: $(STAMP)
	@status=0; $(PY) -m ruff check . || status=1; $(PY) -m mypy || status=1; exit $$status

bench: $(STAMP)
	@for table in experiments/benchmarks/*.py; do \
	  if [ ! -e "$$table" ]; then echo "make: no benchmark in experiments/benchmarks" >&2; exit 1; fi; \
	  case "$$table" in */_*) continue;; esac; \
	  $(PY) "$$table" || exit 1; \
	done

clean:
	@rm -rf $(VENV) $(FOREIGN) out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

setup: $(STAMP)

# The marker stands while pip works: what an interrupted set-up left behind is rebuilt, never trusted.
$(STAMP): pyproject.toml constraints.txt
	@command -v "$(PYTHON)" >/dev/null 2>&1 || { \
	  echo "make: no program '$(PYTHON)'; install Python 3.11 or newer, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: seqxai needs Python 3.11 or newer, but '$(PYTHON)' is $$("$(PYTHON)" -V 2>&1);" \
	       "name a newer one: make PYTHON=python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "make: '$(PYTHON)' cannot build virtual environments (module venv or ensurepip is missing);" \
	       "on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@if [ -e $(UNFINISHED) ] || ! $(PY) -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	  rm -rf $(VENV); \
	  mkdir $(VENV) && touch $(UNFINISHED) && "$(PYTHON)" -m venv $(VENV); \
	fi
	@echo "Setting up $(VENV); the first time this takes some minutes ..."
	@rm -f $(STAMP) && touch $(UNFINISHED)
	@$(PY) -m pip install -qq --disable-pip-version-check \
	  $(if $(TORCH_INDEX),--extra-index-url "$(TORCH_INDEX)") -c constraints.txt -e '.[dev]'
	@rm -f $(UNFINISHED)
	@touch $(STAMP)
