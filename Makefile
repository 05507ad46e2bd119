# The two commands that matter are `make run` and `make test`. `make help` lists the rest.
SHELL := /usr/bin/env bash
.DEFAULT_GOAL := help
bin := .venv/bin

.PHONY: help setup setup-dev run ui lab test sync-check lint notebooks pytest docs outputs lock clean

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Create .venv with the library and JupyterLab, from the lock
	@tools/setup core

setup-dev: ## The same, with what tests and documentation need
	@tools/setup dev

run: setup ## Set up, and take the heart patients through the whole pipeline
	@$(bin)/mlops-nb run heart

ui: setup ## Open MLflow on the runs
	@$(bin)/mlops-nb ui

lab: setup ## Open JupyterLab on the project
	@$(bin)/jupyter lab --notebook-dir=. nbs/pipelines/heart/01_ingest.ipynb

test: setup-dev sync-check lint notebooks pytest docs ## Set up, and run every check there is
	@echo "All checks passed."

sync-check: setup-dev ## Do notebooks, library and README agree?
	@$(bin)/python tools/check_sync.py

lint: setup-dev ## Style, and imports that point downward only
	@$(bin)/ruff check --quiet .
	@$(bin)/ruff format --quiet --check tools tests setup.py
	@$(bin)/lint-imports --no-cache | tail -n 4

notebooks: setup-dev ## Run the lessons, each cell with a time limit
	@$(bin)/python tools/test_notebooks.py --n_workers 2

pytest: setup-dev ## Processes, kernels, faults, the command line
	@$(bin)/pytest

docs: setup-dev ## Build the site into _docs: with Quarto where it is installed, else a preview with pandoc
	@$(bin)/python tools/build_docs.py

outputs: setup-dev ## Run the lessons and keep their outputs, as the site shows them
	@$(bin)/nbdev_export
	@$(bin)/python tools/run_notebooks.py

lock: setup ## Compile the locks anew from settings.ini
	@tools/lock

clean: ## Remove what was built; keep .venv and the runs
	@rm -rf _proc _docs build dist *.egg-info .pytest_cache .ruff_cache
