.PHONY: setup dev demo test lint audit bench bench-ops bench-data bench-stages bench-languages bench-pretrain bench-pretrain-quality bench-gpu chaos soak soak-memory lock screenshots options
PYTHON ?= python3
PY := .venv/bin/python
INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check
LOCKING := .venv-lock/bin/python -m
HASHED := uv pip compile --quiet --no-deps --generate-hashes --no-header --no-annotate
WITH_TORCH := '^(torch|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)=='  # files that differ by device: infra/requirements-torch.txt
export DO_NOT_TRACK = 1
export PREFECT_SERVER_ANALYTICS_ENABLED = false
export GX_ANALYTICS_ENABLED = false
export MLFLOW_DISABLE_TELEMETRY = true
export HF_HUB_OFFLINE = 1

setup: .venv/installed  ## a virtual environment with pinned dependencies, both databases
	@.venv/bin/fromzero setup

.venv/installed: infra/requirements.lock infra/requirements-torch.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: fromzero needs Python 3.11 or newer; \
	$(PYTHON) is `$(PYTHON) --version 2>&1`: install a newer one, then make setup PYTHON=python3.11" >&2; exit 2; }
	@if test -e .venv/begun || ! $(PY) -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	echo "a new virtual environment in .venv"; $(PYTHON) -m venv --clear .venv; fi
	@touch .venv/begun  # until pip is through: an installation that was interrupted starts anew, from pip's cache
	$(INSTALL) --no-deps --require-hashes -r infra/requirements.lock
	$(INSTALL) -r infra/requirements-torch.txt
	$(INSTALL) --no-deps --no-build-isolation --editable .
	@rm .venv/begun && touch $@

dev: setup .venv/developing  ## what tests, lint and benchmarks need beside

.venv/developing: .venv/installed infra/requirements-dev.lock
	$(INSTALL) --no-deps --require-hashes -r infra/requirements-dev.lock
	@touch $@

demo: setup  ## raw text to promoted models, in minutes
	.venv/bin/fromzero run demo

test: dev  ## the whole suite, on two cores
	OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses=2 --dist worksteal

chaos: dev  ## all faults of tests/chaos, of which `make test` has a seeded choice, then a hundred of all kinds in all places
	OMP_NUM_THREADS=1 FROMZERO_CHAOS=all $(PY) -m pytest --numprocesses=2 tests/chaos
	OMP_NUM_THREADS=1 $(PY) -m tests.chaos.faults

lint: dev  ## ruff and mypy --strict
	$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy

audit: dev  ## known weaknesses (where they can be looked up), licences and a bill of materials of what users run, into .audit/
	$(PY) infra/audit.py .audit

bench: dev  ## benchmarks, each beside its peer
	$(PY) -m tests.benchmarks.cached_run

bench-ops: dev  ## what it costs to start a step's body, forked beside spawned, and to run 10 to 5,000 tiny shards
	$(PY) -m tests.benchmarks.body_start
	$(PY) -m tests.benchmarks.shards

bench-data: dev  ## the data stages beside their peers, on 100 MB of Debian documentation kept in .bench/
	@test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r infra/requirements-bench.txt
	$(PY) -m tests.benchmarks.data .bench .venv-bench/bin/python

bench-stages: dev  ## CPU-seconds of every step of the data's way for 100 MB of Debian documentation kept in .bench/
	OMP_NUM_THREADS=1 POLARS_MAX_THREADS=1 $(PY) -m tests.benchmarks.stages .bench

bench-languages: dev  ## what becomes of texts in six languages by default, on Debian's translated documentation kept in .bench/
	$(PY) -m tests.benchmarks.languages .bench/languages

bench-pretrain: dev  ## pretraining beside transformers' Trainer and litgpt, on the demo's corpus, on the CPU
	@test -x .venv-bench-pretrain/bin/python || $(PYTHON) -m venv .venv-bench-pretrain
	@.venv-bench-pretrain/bin/python -m pip install --quiet --disable-pip-version-check -r infra/requirements-bench-pretrain.txt
	$(PY) -m tests.benchmarks.pretrain .bench/pretrain .venv-bench-pretrain/bin/python

bench-pretrain-quality: dev  ## held-out loss after 3 million tokens, here and by transformers' Trainer; takes an hour and a half
	$(PY) -m tests.benchmarks.pretrain_quality .bench/pretrain

bench-gpu: dev  ## pretraining on one GPU, in under 8 minutes: speed beside the Trainer, loss curve, kill and resume
	$(PY) -m tests.benchmarks.pretrain_gpu .bench/gpu

soak: dev  ## the demo, the data's way and pretraining, killed again and again, until they end as if undisturbed
	$(PY) -m tests.chaos.soak
	$(PY) -m tests.chaos.soak_data
	$(PY) -m tests.chaos.soak_pretrain
	$(PY) -m tests.chaos.soak_history

soak-memory: dev  ## 10 million short documents: at most 16 bytes of memory for each beyond a fixed part
	OMP_NUM_THREADS=1 $(PY) -m tests.chaos.soak_memory

screenshots: dev  ## pictures of Prefect's and MLflow's pages into docs/images/: make screenshots [HOME_SHOWN=.fromzero]
	$(PY) -m tests.screenshots $(HOME_SHOWN)

options: .venv/installed  ## every option of a recipe, from the schema, into docs/options.md
	$(PY) -m conf.reference

lock:  ## resolve the newest set that fits pyproject.toml, with the hashes of all its files, of users' and of developers' parts
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	$(LOCKING) pip install --quiet --disable-pip-version-check hatchling editables .
	$(LOCKING) pip freeze --exclude fromzero | grep -vE $(WITH_TORCH) > .venv-lock/users.txt
	$(LOCKING) pip install --quiet --disable-pip-version-check -c .venv-lock/users.txt ".[dev]"
	$(LOCKING) pip freeze --exclude fromzero | grep -vE $(WITH_TORCH) | grep -vxFf .venv-lock/users.txt > .venv-lock/dev.txt
	$(LOCKING) pip install --quiet --disable-pip-version-check uv
	$(LOCKING) $(HASHED) .venv-lock/users.txt --output-file infra/requirements.lock
	$(LOCKING) $(HASHED) .venv-lock/dev.txt --output-file infra/requirements-dev.lock
	rm -rf .venv-lock
