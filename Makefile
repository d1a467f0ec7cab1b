# Every target works from a fresh clone; .venv and .devcloud are made on demand.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
REGIONS ?= 3
MINUTES ?= 2

.PHONY: help demo test test-matrix thrash bench lint docs sample devcloud-up devcloud-down clean

help:
	@echo "make demo | test | test-matrix | thrash [SEED=...] [MINUTES=2] [DATABASE=postgresql] | bench | lint"
	@echo "     docs | sample | devcloud-up [REGIONS=3] | devcloud-down | clean"

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[cli,test]'
	touch $@

demo: $(VENV)/ready
	$(BIN)/python -m devcloud.demo

devcloud-up: $(VENV)/ready
	$(BIN)/python -m devcloud up --regions $(REGIONS)

devcloud-down: $(VENV)/ready
	$(BIN)/python -m devcloud down

PYTEST := $(BIN)/python -m pytest --numprocesses 3

test: $(VENV)/ready
	$(PYTEST)

test-matrix: $(VENV)/ready
	$(PYTEST) --matrix

thrash: $(VENV)/ready
	$(BIN)/python -m tests.faults.thrash --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) \
	  $(if $(DATABASE),--database $(DATABASE))

bench: $(VENV)/ready
	$(BIN)/python -m bench

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/ready
	$(BIN)/sphinx-build -q -W -b html doc/source doc/build/html

sample: $(VENV)/ready
	$(BIN)/oslo-config-generator --config-file etc/config-generator.conf

clean:
	-$(BIN)/python -m devcloud clean
	rm -rf $(VENV) doc/build build *.egg-info
