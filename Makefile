# Everything a person needs, by name. `make` alone lists it. Needs only python3 (3.11 or 3.12) with venv and pip.
SHELL := /bin/bash
PYTHON ?= $(shell for p in python3.12 python3.11 python3; do command -v $$p >/dev/null && $$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help env run check unit test clients lint format bench up down ui serve dashboard requirements digests composer schema templates dictionary deploy deploy-check clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*?## ' $(MAKEFILE_LIST) | awk -F ':.*?## ' '{printf "  make %-14s %s\n", $$1, $$2}'

env: $(READY) ## Create the environment in .venv

$(READY): requirements.txt pyproject.toml
	@test -n "$(PYTHON)" || { echo "Missing: Python 3.11 or 3.12 with venv and pip. On Debian and Ubuntu: apt-get install python3 python3-venv python3-pip"; exit 1; }
	@echo "Creating the environment in $(VENV) with $(PYTHON) (once; a few minutes)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip --upgrade >/dev/null
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r <(sed -n '/^uv==/,/[^\\]$$/p' requirements.txt)
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --compile-bytecode --require-hashes -r requirements.txt \
		|| { echo "uv could not install; trying pip"; $(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt; }
	@VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation -e . \
		|| $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: env ## Run the pipeline for the present day on this machine and show the warehouse
	@$(BIN)/coinbeam run --mode local

check: env ## Lint, types, and the tests that need no emulator, all at once
	@$(MAKE) --no-print-directory --output-sync=target -j 2 lint unit

unit: env ## Run the tests that need neither emulators nor Airflow and are quick
	@$(BIN)/python -m pytest -q -n 3 --dist loadgroup -m "not (cloud or airflow or browser or slow or clients)"

test: env ## Run all tests (many wait for another process, so three run on two cores)
	@$(BIN)/python -m pytest -n 3 --dist loadgroup

clients: env ## Run the API's tests with real clients, installed from PyPI and npm, and its long fuzzing
	@$(BIN)/python -m pytest -m clients

lint: env ## Format check, lint, types, import rules, SQL, secrets in the history
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/sqlfluff lint sql --processes 1
	@$(BIN)/coinbeam contracts check > /dev/null
	@$(BIN)/python -m deploy.leaks

format: env ## Format the code
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

bench: env $(VENV)/.bench ## Measure the transforms, the growth of the warehouse and the API beside what a user would pick instead
	@$(BIN)/python -m benchmarks.columnar
	@$(BIN)/python -m benchmarks.history
	@$(BIN)/python -m benchmarks.trades
	@$(BIN)/python -m benchmarks.growth --plot .coinbeam/bench/growth.svg
	@$(BIN)/python -m benchmarks.serving

$(VENV)/.bench: config/bench-requirements.txt $(READY)
	@! command -v java >/dev/null || VIRTUAL_ENV=$(VENV) $(BIN)/uv pip install --quiet --require-hashes -r $< || echo "Spark could not be installed; the benchmark leaves it out"
	@touch $@

up: env ## Start the local cloud
	@$(BIN)/coinbeam local up

down: env ## Stop the local cloud
	@$(BIN)/coinbeam local down

ui: env ## Open Airflow's web interface on the local cloud (Ctrl-C stops it)
	@$(BIN)/coinbeam ui

serve: env ## Serve the API on the local cloud (Ctrl-C stops it)
	@$(BIN)/coinbeam serve

dashboard: env ## Open the dashboard on the local cloud (Ctrl-C stops it)
	@$(BIN)/coinbeam dashboard

# Each word of the command line that is set becomes an option: PROJECT, REGION, LOCATION, PROFILE, PLAN, STATE_PROJECT, ALERT_EMAIL, GITHUB; YES=1 asks nothing, DRY_RUN=1 only shows.
ORDER = --project "$(PROJECT)" $(if $(REGION),--region "$(REGION)") $(if $(LOCATION),--location "$(LOCATION)") $(if $(STATE_PROJECT),--state-project "$(STATE_PROJECT)") $(if $(PROFILE),--profile "$(PROFILE)") $(if $(PLAN),--plan "$(PLAN)")
deploy: env ## Deploy into PROJECT=my-project, step by step; goes on where it stopped
	@test -n "$(PROJECT)" || { echo "Say which: make deploy PROJECT=my-project [REGION=..] [ALERT_EMAIL=..] [PROFILE=small] [PLAN=..] [STATE_PROJECT=..]"; exit 2; }
	@$(BIN)/coinbeam deploy $(ORDER) $(if $(ALERT_EMAIL),--alert-email "$(ALERT_EMAIL)") $(if $(GITHUB),--github "$(GITHUB)") $(if $(YES),--yes) $(if $(DRY_RUN),--dry-run)

deploy-check: env ## Compare PROJECT=my-project with what it should be; changes nothing
	@test -n "$(PROJECT)" || { echo "Say which: make deploy-check PROJECT=my-project [REGION=..] [PROFILE=small]"; exit 2; }
	@$(BIN)/coinbeam deploy-check $(ORDER)

COMPILE = $(BIN)/uv pip compile --quiet --generate-hashes --python-version 3.11.13 --python-platform x86_64-manylinux_2_28 --no-annotate -c requirements.txt --custom-compile-command "make requirements" pyproject.toml
EVERYWHERE := airflow beam local serving dev
requirements: env ## Compile requirements.txt, and those of the images and of Spark, from pyproject.toml
	@$(BIN)/uv pip compile --quiet --generate-hashes --universal --python-version 3.11 $(foreach extra,$(EVERYWHERE),--extra $(extra)) --custom-compile-command "make requirements" pyproject.toml -o requirements.txt
	@for extra in beam serving bench; do $(COMPILE) --extra $$extra -o config/$$extra-requirements.txt || exit 1; done
	@$(COMPILE) --extra airflow --extra beam -o config/batch-requirements.txt

digests: ## Pin the base images and the builders to the digests that their tags have now
	@python3 -m deploy.base_images --write

COMPOSER := --quiet --no-annotate --python-version 3.11 --python-platform x86_64-manylinux_2_28 --custom-compile-command "make composer"
# Without hashes: Composer installs its packages itself, by version alone.
composer: env ## Compile what Composer's image holds as of its day, and what is installed on top of it
	@$(BIN)/uv pip compile $(COMPOSER) --exclude-newer $$(sed -n 's/^# Day: //p' config/composer-image.in)T00:00:00Z --excludes <(echo apache-beam) config/composer-image.in -o config/composer-image.txt
	@$(BIN)/uv pip compile $(COMPOSER) --no-deps -c requirements.txt config/composer-requirements.in -o config/composer-requirements.txt

schema: env ## Write the schema of the Google provider that infra/ uses
	@$(BIN)/python -m tests.infra.provider_schema --write

templates: env ## Write the metadata of the Flex Templates from the options of the jobs
	@$(BIN)/python -m beam_pipelines.job.flex_template --write

dictionary: env ## Write docs/data_dictionary.md from the contracts, and their new versions into sql/versions.json
	@$(BIN)/coinbeam contracts lock
	@$(BIN)/coinbeam contracts dictionary --write

clean: ## Stop the local cloud and delete everything that was made, landed answers too; asks first (YES=1 does not)
	@test -n "$(YES)" || { test -t 0 && read -r -p "This deletes $(VENV) and .coinbeam, with $$(find .coinbeam -path '*/landing/*' -type f 2>/dev/null | wc -l) landed answers, which no call brings again. Go on? [y/N] " answer && [[ "$$answer" == [yY]* ]]; } || { echo "Nothing was deleted. (make clean YES=1 does not ask.)"; exit 1; }
	@! test -x $(BIN)/coinbeam || $(BIN)/coinbeam local down
	rm -rf .coinbeam $(VENV)
