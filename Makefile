# Needs make, Python ≥ 3.11 with its venv module, and a package index. Nothing is installed
# outside .venv.
#
#   make quickstart   install, then run the smallest study
#   make test         the whole test suite       make lint    ruff and mypy
#   make bench        rerun the benchmarks       make locks   regenerate requirements/*.txt
#   make bench-data   rerun the one of preparation and loading alone
#   make bench-tables   that of the table backends, on an idle machine
#   make bench-train  training steps against three public layouts, eager and compiled
#   make bench-propose  seconds a proposal, ours and stock Ax
#   make bench-search BARS=FILE  searches replayed on recorded runs; without BARS those of our table
#   make bench-cluster  what the loop spends on a trial, 1,000 jobs on a SLURM of this machine
#   make test-slurm   the tests on a real SLURM alone; `make test` runs them, too, where
#                     slurmctld slurmd slurm-client munge slurmdbd slurm-wlm-mysql-plugin
#                     mariadb-server are installed, and says what is missing where they are not
#   make docs         write docs/spec.md anew
#   make kill-test    disturb studies 100 times: benchmarks/results/kills.json
#   make cluster-campaign FRAPPE=FOLDER  disturb a study that trains on a SLURM of this machine
#
# LOCK=cuda takes torch's CUDA build; PYTHON=python3.12 another interpreter.

LOCK ?= cpu
PYTHON ?= python3
BARS ?=
FRAPPE ?=
BENCHMARKS := benchmarks/layouts.py benchmarks/trial_overhead.py benchmarks/bench_data.py \
	benchmarks/bench_cost.py benchmarks/bench_tables.py benchmarks/bench_train.py

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PACKAGES := $(VENV)/installed-$(LOCK)
PROJECT := $(VENV)/installed-project

.PHONY: quickstart test lint bench bench-data bench-tables bench-train bench-search \
	bench-propose bench-cluster test-slurm kill-test cluster-campaign docs \
	locks venv

quickstart: venv
	$(BIN)/codesign optimize spaces/quickstart.yaml

test: venv
	$(BIN)/python -m pytest -n auto --dist loadfile

test-slurm: venv
	$(BIN)/python -m pytest tests/slurm

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: venv
	set -e; for script in $(BENCHMARKS); do echo "== $$script"; $(BIN)/python $$script; done

bench-data: venv
	$(BIN)/python benchmarks/bench_data.py

bench-tables: venv
	$(BIN)/python benchmarks/bench_tables.py

bench-train: venv
	$(BIN)/python benchmarks/bench_train.py

bench-propose: venv
	$(BIN)/python benchmarks/bench_propose.py

bench-search: venv
	$(BIN)/python -m benchmarks.search $(if $(BARS),--bars "$(BARS)")

bench-cluster: venv
	$(BIN)/python -m benchmarks.bench_cluster

kill-test: venv
	$(BIN)/python -m tests.support.kills --kills 100 --out benchmarks/results/kills.json

cluster-campaign: venv
	$(BIN)/python -m tests.support.cluster_campaign --data "$(FRAPPE)" \
		--out benchmarks/results/cluster.json

docs: $(PROJECT)
	$(BIN)/python docs/generate.py

locks:
	$(PYTHON) requirements/lock.py

venv: $(PROJECT)

# Built anew for each lock, so that it holds the lock's packages and no others.
$(PACKAGES): requirements/$(LOCK).txt
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit( \
	  "%s is Python %d.%d; codesign needs 3.11 or later: make PYTHON=python3.x" \
	  % (sys.executable, *v[:2]))'
	@$(PYTHON) -m venv --clear $(VENV)
	@echo "installing requirements/$(LOCK).txt into $(VENV): a minute or two"
	@$(PIP) install --quiet --no-deps -r requirements/$(LOCK).txt
	@$(BIN)/python requirements/check.py $(LOCK)
	@touch $@

$(PROJECT): $(PACKAGES) pyproject.toml
	@$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@
