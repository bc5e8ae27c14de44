#!/bin/bash
# Renew requirements.lock and requirements-dev.lock: every version and hash, no host.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools/venv"
"$tools/venv/bin/pip" install -q --disable-pip-version-check pip-tools
compile=("$tools/venv/bin/pip-compile" --quiet --strip-extras --allow-unsafe --generate-hashes
  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options --no-header
  --annotation-style=line)
"${compile[@]}" -o requirements.lock pyproject.toml
"${compile[@]}" --extra dev -o requirements-dev.lock pyproject.toml
