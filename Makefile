# make workshop | workbench | test | lab | down | prepare | site | lock | bundle | bench | clean
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.PHONY: help workshop workbench test lab up down prepare site lock bundle bench clean
# What a notebook image may set for its own packages would reach into .venv.
unexport PYTHONPATH PYTHONHOME PIP_USER PIP_TARGET PIP_PREFIX PIP_REQUIRE_VIRTUALENV

PYTHON ?= $(shell for p in python3.11 python3.12 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
SOURCES := setup.py settings.ini requirements-bootstrap.lock

help:  ## list the commands
	@grep -hE '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /	/' | expand -t 12

workshop: .venv/workshop.stamp  ## set up, start the stack, run the lessons
	$(BIN)/fraud-demo up
	$(BIN)/fraud-demo lessons run --changed
	$(BIN)/fraud-demo status

workbench: up  ## in a notebook image: set up, register the kernel fraud-demo, check
	$(BIN)/python -m ipykernel install --user --name fraud-demo --display-name fraud-demo --env PYTHONPATH ""
	$(BIN)/fraud-demo doctor

test: .venv/test.stamp  ## set up and run all tests
	$(BIN)/ruff check .
	$(BIN)/pytest -n 2

lab: .venv/workshop.stamp  ## open JupyterLab on the lessons
	$(BIN)/fraud-demo up
	$(BIN)/jupyter lab --ip=127.0.0.1 --ServerApp.root_dir=nbs

up: .venv/workshop.stamp  ## start the local stack
	$(BIN)/fraud-demo up

down:  ## stop the local stack
	@if [ -x $(BIN)/fraud-demo ]; then $(BIN)/fraud-demo down; else echo "Nothing was started from here."; fi

prepare: .venv/test.stamp  ## after editing a notebook: format, export, clean, README, fast tests
	$(BIN)/ruff format nbs tests benchmarks deploy
	$(BIN)/ruff check nbs tests benchmarks deploy
	$(BIN)/jupyter nbconvert --log-level=ERROR --clear-output --inplace $$(find nbs -name '*.ipynb' -not -path '*/.*')
	$(BIN)/nbdev_clean
	$(BIN)/nbdev_export
	$(BIN)/python .ci/readme.py
	$(BIN)/pytest -q tests/test_hygiene.py tests/unit

site: .venv/test.stamp  ## build a documentation site in _docs/ from the executed lessons
	$(BIN)/python .ci/site.py $${FRAUD_DEMO_HOME:-.workshop}/lessons _docs
	@echo "Open _docs/index.html"

lock: .venv/bootstrap.stamp  ## compute the lock files again from settings.ini
	export UV_CUSTOM_COMPILE_COMMAND="make lock"; \
	compile="$(BIN)/uv pip compile -q --refresh-package fraud-demo --universal --generate-hashes --no-annotate --no-emit-index-url --python-version 3.11"; \
	$$compile setup.py --extra workshop -o requirements.lock; \
	$$compile setup.py --extra dev -c requirements.lock -o requirements-test.lock; \
	$$compile requirements-bootstrap.in -c requirements.lock -o requirements-bootstrap.lock; \
	$$compile setup.py --extra app -c requirements.lock -o deploy/app/requirements.lock; \
	$$compile deploy/mlflow/requirements.in -c requirements-test.lock -o deploy/mlflow/requirements.lock; \
	engine=$$(mktemp); grep -o '^onnxruntime==[0-9.]*' requirements.lock > $$engine; \
	for name in mlserver triton; do $$compile benchmarks/servers/$$name.in -c $$engine -o benchmarks/servers/$$name.lock; done

bundle: .venv/bootstrap.stamp  ## collect in bundle/ what a cluster without internet needs
	$(BIN)/python deploy/workbench/bundle.py bundle

bench: .venv/workshop.stamp  ## run the benchmarks
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/room.py
	$(BIN)/python benchmarks/serving.py
	$(BIN)/python -m benchmarks.load
	$(BIN)/python benchmarks/batch.py
	$(BIN)/python -m benchmarks.app
	$(BIN)/python -m benchmarks.monitoring --server
	$(BIN)/python -m benchmarks.scale
	$(BIN)/python benchmarks/plan.py

clean: down  ## remove the environment, the bundle and everything the stack stored
	rm -rf .venv .workshop bundle

.venv/bootstrap.stamp: requirements-bootstrap.lock
	@if [ -z "$(PYTHON)" ]; then echo "Python 3.11, 3.12 or 3.13 is needed and was not found."; exit 2; fi
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	@echo "Installing the installer ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-bootstrap.lock
	@touch $@

# The test lock holds everything of the workshop lock, so whoever has it needs nothing more for the workshop.
.venv/workshop.stamp: .venv/bootstrap.stamp requirements.lock $(SOURCES)
	@echo "Installing the packages of the workshop (about a minute) ..."
	@if [ -e .venv/test.stamp ]; then lock=requirements-test.lock; else lock=requirements.lock; fi; \
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode requirements-bootstrap.lock $$lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

.venv/test.stamp: .venv/bootstrap.stamp requirements-test.lock $(SOURCES)
	@echo "Installing the packages of the workshop and of the tests (about a minute) ..."
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes --compile-bytecode requirements-bootstrap.lock requirements-test.lock
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@ .venv/workshop.stamp
