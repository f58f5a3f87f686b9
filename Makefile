# `make demo` and `make test` set everything up in .venv; they need Python 3.11+ and pip.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	2>/dev/null && echo $$p && break; done)
RUN := .venv/bin/python
PIP := $(RUN) -m pip --no-input --disable-pip-version-check
INSTALLED := .venv/.installed

.PHONY: help demo test check train bench
help:
	@echo "make demo    index the demo videos, find where a clip came from"
	@echo "make test    run all tests that need no more than this machine"
	@echo "make check   ruff and mypy"
	@echo "make train   train the model: DATA=folder, TEACHER=folder, RUN_DIR=folder"
	@echo "make bench   speed, memory and size of indexing and searching: VIDEOS=folder"

demo: $(INSTALLED)
	$(RUN) examples/demo.py

test: $(INSTALLED)
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n auto --dist loadfile

check: $(INSTALLED)
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy

# DATA: a folder of clips or with a manifest.csv; TEACHER: a folder with a movinet.py, or nothing.
DATA ?= clips
RUN_DIR ?= runs/sora-small
train: $(INSTALLED)
	$(RUN) -m sora_search model train --data $(DATA) $(if $(TEACHER),--teacher $(TEACHER)) \
		--output $(RUN_DIR)
	$(RUN) -m sora_search model export $(RUN_DIR)/model

# VIDEOS: a folder of clips that are joined, scaled up, edited and searched.
VIDEOS ?= demo/videos
bench: $(INSTALLED)
	$(RUN) tests/benchmarks/bench_indexing.py --videos $(VIDEOS)
	$(RUN) -m sora_search evaluate --videos $(VIDEOS) --edits all

$(INSTALLED): pyproject.toml constraints.txt demo-requirements.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed" >&2; exit 1; }
	@echo "Installing into .venv (a minute or two) ..."
	test -x $(RUN) || $(PYTHON) -m venv .venv
	$(PIP) install -q -c constraints.txt -e '.[dev]'
	$(PIP) install -q -c constraints.txt --no-deps -r demo-requirements.txt
	@touch $@
