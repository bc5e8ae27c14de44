#!/bin/bash
# Everything a commit must pass besides its tests. Runs all checks, then fails if one failed.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=0
check() { echo "lint: $1"; shift; "$@" || failed=1; }
check "ruff" .venv/bin/ruff check .
check "format" .venv/bin/ruff format --check --quiet .
check "types" .venv/bin/mypy
check "layers" .venv/bin/lint-imports --no-logo
check "sizes" .venv/bin/python tools/sizes.py
exit $failed
