# GNU make 3.81 (macOS) and later. Every target that needs the virtual environment makes it first.

PYTHON ?= python3
PIP_ARGS ?=
PYTEST_ARGS ?=
MINUTES ?= 20
SEED ?=

BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test soak up check audit mutants bench load docs

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' Makefile

install: $(INSTALLED) ## make .venv and install everything the other targets need

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("actrobust needs Python 3.11 or later, this is %d.%d; name one: make install PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	@touch $@

demo: install ## compare seven activations on generated data, here and now, and print the table
	ACTROBUST_DATABASE_URL= ACTROBUST_BROKER_URL= $(BIN)/actrobust run harrison-multivariate --watch --data-dir .demo

# A hundred processes of ours are started; each compiles our modules anew unless Python may keep their bytecode.
test: install ## run all tests, on every core; those whose server or data is absent skip with the reason
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal $(PYTEST_ARGS)

soak: install ## kill, stop and starve real processes for MINUTES=20 on every database; SEED=n replays a schedule
	$(BIN)/python -m tests.faults --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

up: install ## run the whole service in the foreground: API, worker, reconciler, broker, SQLite
	$(BIN)/actrobust serve

check: install ## ruff, bandit, mypy --strict, import contracts, migrations in step with the models
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive actrobust api migrations shared worker
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m migrations.check

# Not a part of `check`: what is published about a package tomorrow must not break what was built today.
audit: install ## look up known weaknesses of the versions of constraints.txt; needs the internet
	@$(BIN)/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip --progress-spinner off || \
		{ echo 'Where no weakness is listed above, the advisories could not be asked, and nothing is known.' >&2; exit 1; }

mutants: install ## take safeguards out of a copy, one at a time, and see that the tests notice each time
	$(BIN)/python -m tests.mutants

bench: install ## measure what is claimed about speed against its rivals, half an hour; writes docs/performance.md
	$(BIN)/python -m pip install --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[dev,bench]'
	$(BIN)/python -m benchmarks

docs: install ## make the reference pages, the pictures and the notebook anew, from the code and from real runs; a minute
	$(BIN)/python -m docs.make_reference
	$(BIN)/python -m docs.make_pictures
	$(BIN)/python -m docs.make_notebook

LOAD_ARGS ?=

load: install ## post and look at a fixed rate beside busy workers; LOAD_ARGS="URL" or "--soak 30", see docs/load.md
	$(BIN)/python -m benchmarks.load $(LOAD_ARGS)
