# Naru's commands. `make run` and `make test` work on a fresh Debian 12 with git, make and python3.
SHELL := /bin/bash
BIN := .venv/bin
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev run stop test test-cgroup2 lint format bench lock clean try-real

help:  ## show these commands
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup:  ## install what is missing: system packages, and Naru into .venv
	@tools/setup.sh runtime

setup-dev:
	@tools/setup.sh dev

run: setup  ## start narud if needed, run a web server in a container, fetch its page
	@tools/demo.sh run

stop:  ## end what `make run` started
	@tools/demo.sh stop

test: setup-dev  ## everything that must hold: lint, then all test levels
	@tools/test.sh

test-cgroup2: setup-dev  ## tests that touch the kernel, in a virtual machine with cgroup v2; TESTS='…' chooses
	@tools/cgroup2-vm.sh $(TESTS)

lint: setup-dev  ## ruff, mypy --strict, the layers' contracts, the size budgets
	@tools/lint.sh

format: setup-dev
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

bench: setup-dev  ## measure; beside a reference Docker where REFERENCE_DOCKER_HOST names one
	@$(BIN)/python bench/run.py

try-real: setup  ## MariaDB, Redis, nginx and fail2ban from Debian's packages, killed in the middle
	@tools/try-real.sh

lock: setup-dev  ## renew the lock files from pyproject.toml
	@tools/lock.sh

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
