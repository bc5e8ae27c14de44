#!/bin/bash
# Install what Naru needs: Debian packages that are missing, and the pinned Python packages into .venv.
# Usage: tools/setup.sh runtime|dev. Does nothing, quickly, when nothing changed since the last time.
set -euo pipefail
cd "$(dirname "$0")/.."
kind=${1:-runtime}

packages=(crun conmon libnftables1 tini busybox-static ca-certificates python3 python3-venv iproute2 libcap2-bin procps)
locks=(requirements.lock)
if [ "$kind" = dev ]; then
  packages+=(nftables curl e2fsprogs)
  locks+=(requirements-dev.lock)
fi

stamp=.venv/.naru-$kind
wanted=$(cat "${locks[@]}" pyproject.toml tools/setup.sh tools/launchers.py | sha256sum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && [ -x .venv/bin/naru ]; then
  exit 0
fi

missing=()
for package in "${packages[@]}"; do
  state=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true)
  [[ $state == ii* ]] || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ]; then
    echo "setup: these Debian packages are missing: ${missing[*]}" >&2
    echo "setup: run 'make setup' as root, or install them yourself, and try again" >&2
    exit 1
  fi
  echo "setup: installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  log=$(mktemp)
  if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
    cat "$log" >&2
    echo "setup: apt-get could not install: ${missing[*]}" >&2
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
[ -x .venv/bin/python ] || "$python" -m venv .venv
echo "setup: installing Python packages into .venv"
for lock in "${locks[@]}"; do
  .venv/bin/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r "$lock"
done
.venv/bin/python tools/launchers.py
echo "$wanted" >"$stamp"
