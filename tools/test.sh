#!/bin/bash
# Lint, then every level of tests. Needs root: real containers run. Leaves nothing behind.
set -uo pipefail
cd "$(dirname "$0")/.."
if [ "$(id -u)" != 0 ]; then
  echo "test: real containers run in these tests, so run 'make test' as root" >&2
  exit 1
fi
tools/lint.sh || exit 1
exec .venv/bin/python -m pytest -q -p no:cacheprovider -n "${NARU_TEST_WORKERS:-4}" --dist loadfile "$@"
