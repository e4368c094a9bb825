.PHONY: setup demo test lint bench bench-data bench-languages bench-pretrain bench-pretrain-quality bench-gpu soak soak-memory lock screenshots
PYTHON ?= python3
PY := .venv/bin/python
export DO_NOT_TRACK = 1
export PREFECT_SERVER_ANALYTICS_ENABLED = false
export GX_ANALYTICS_ENABLED = false
export MLFLOW_DISABLE_TELEMETRY = true
export HF_HUB_OFFLINE = 1

setup: .venv/installed  ## a virtual environment with pinned dependencies, both databases
	@.venv/bin/fromzero setup

.venv/installed: infra/requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: fromzero needs Python 3.11 or newer; \
	$(PYTHON) is `$(PYTHON) --version 2>&1`: install a newer one, then make setup PYTHON=python3.11" >&2; exit 2; }
	@if test -e .venv/begun || ! $(PY) -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	echo "a new virtual environment in .venv"; $(PYTHON) -m venv --clear .venv; fi
	@touch .venv/begun  # until pip is through: an installation that was interrupted starts anew, from pip's cache
	$(PY) -m pip install --quiet --disable-pip-version-check -r infra/requirements.lock
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@rm .venv/begun && touch $@

demo: setup  ## raw text to promoted models, in minutes
	.venv/bin/fromzero run demo

test: setup  ## the whole suite, on two cores
	OMP_NUM_THREADS=1 $(PY) -m pytest --numprocesses=2

lint: setup  ## ruff and mypy --strict
	$(PY) -m ruff check . && $(PY) -m ruff format --check . && $(PY) -m mypy

bench: setup  ## benchmarks, each beside its peer
	$(PY) -m tests.benchmarks.cached_run

bench-data: setup  ## the data stages beside their peers, on 100 MB of Debian documentation kept in .bench/
	@test -x .venv-bench/bin/python || $(PYTHON) -m venv .venv-bench
	@.venv-bench/bin/python -m pip install --quiet --disable-pip-version-check -r infra/requirements-bench.txt
	$(PY) -m tests.benchmarks.data .bench .venv-bench/bin/python

bench-languages: setup  ## what becomes of texts in six languages by default, on Debian's translated documentation kept in .bench/
	$(PY) -m tests.benchmarks.languages .bench/languages

bench-pretrain: setup  ## pretraining beside transformers' Trainer and litgpt, on the demo's corpus, on the CPU
	@test -x .venv-bench-pretrain/bin/python || $(PYTHON) -m venv .venv-bench-pretrain
	@.venv-bench-pretrain/bin/python -m pip install --quiet --disable-pip-version-check -r infra/requirements-bench-pretrain.txt
	$(PY) -m tests.benchmarks.pretrain .bench/pretrain .venv-bench-pretrain/bin/python

bench-pretrain-quality: setup  ## held-out loss after 3 million tokens, here and by transformers' Trainer; takes an hour and a half
	$(PY) -m tests.benchmarks.pretrain_quality .bench/pretrain

bench-gpu: setup  ## pretraining on one GPU, in under 8 minutes: speed beside the Trainer, loss curve, kill and resume
	$(PY) -m tests.benchmarks.pretrain_gpu .bench/gpu

soak: setup  ## the demo, the data's way and pretraining, killed again and again, until they end as if undisturbed
	$(PY) -m tests.chaos.soak
	$(PY) -m tests.chaos.soak_data
	$(PY) -m tests.chaos.soak_pretrain
	$(PY) -m tests.chaos.soak_history

soak-memory: setup  ## 10 million short documents: at most 16 bytes of memory for each beyond a fixed part
	OMP_NUM_THREADS=1 $(PY) -m tests.chaos.soak_memory

screenshots: setup  ## pictures of Prefect's and MLflow's pages into docs/images/: make screenshots [HOME_SHOWN=.fromzero]
	$(PY) -m tests.screenshots $(HOME_SHOWN)

lock:  ## resolve the newest set that fits pyproject.toml: python3 -m venv, pip install, pip freeze
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet --disable-pip-version-check hatchling editables ".[dev]"
	.venv-lock/bin/python -m pip freeze --exclude fromzero | sed 's/+cpu$$//' > infra/requirements.lock
	rm -rf .venv-lock
