#!/bin/bash
# Install what Naru needs: Debian packages that are missing, and the pinned Python packages into .venv.
# Usage: tools/setup.sh runtime|dev. Does nothing, quickly, when nothing changed since the last time.
set -euo pipefail
cd "$(dirname "$0")/.."
kind=${1:-runtime}

packages=(crun conmon libnftables1 tini busybox-static ca-certificates python3 python3-venv procps)
locks=(requirements.lock)
if [ "$kind" = dev ]; then
  packages+=(nftables iproute2 e2fsprogs openssl runc bzip2 xz-utils)
  locks+=(requirements-dev.lock)
fi

stamp=.venv/.naru-$kind
wanted=$(cat "${locks[@]}" pyproject.toml tools/setup.sh tools/launcher.py tools/launchers.py | sha256sum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && [ -x .venv/bin/naru ] && [ -x .venv/bin/narud ]; then
  exit 0
fi

if ! command -v dpkg-query apt-get >/dev/null; then
  echo "setup: this is no Debian or Ubuntu: install what belongs to ${packages[*]}," >&2
  echo "setup: then make .venv by hand as the rest of tools/setup.sh does" >&2
  exit 1
fi
missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true)
  [[ $state == ii* ]] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ]; then
    echo "setup: these Debian packages are missing: ${missing[*]}" >&2
    echo "setup: run this as root, or 'apt-get install' them, and try again" >&2
    exit 1
  fi
  echo "setup: installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  log=$(mktemp)
  if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
    cat "$log" >&2
    rm -f "$log"
    echo "setup: apt-get could not install: ${missing[*]}" >&2
    echo "setup: they are in Debian 12's main; look at /etc/apt/sources.list* and the network" >&2
    exit 1
  fi
  rm -f "$log"
fi

python=/usr/bin/python3
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || python=python3
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "setup: Python 3.11 or newer is needed, $($python --version) is here" >&2
  exit 1
}
# An environment of another place or of a Python that is gone does not work: make it anew.
if ! .venv/bin/python -c 'import os, pip, sys; sys.exit(not os.path.samefile(sys.prefix, ".venv"))' 2>/dev/null; then
  rm -rf .venv
  "$python" -m venv .venv
fi
echo "setup: installing Python packages into .venv"
log=$(mktemp)
for lock in "${locks[@]}"; do
  if ! .venv/bin/python -m pip install -q --disable-pip-version-check --no-input --no-deps \
    --only-binary :all: --require-hashes -r "$lock" >"$log" 2>&1; then
    cat "$log" >&2
    echo "setup: pip could not install what $lock names. Without a way to a package index, point pip" >&2
    echo "setup: at a mirror or a folder of wheels (pip config set global.index-url or .find-links)" >&2
    rm -f "$log"
    exit 1
  fi
done
rm -f "$log"
.venv/bin/python tools/launchers.py
# Written now, since who uses the command line need not be who may write here.
.venv/bin/python -m compileall -q naru
echo "$wanted" >"$stamp"
