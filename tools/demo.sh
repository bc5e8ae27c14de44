#!/bin/bash
# `make run` and `make stop`: an engine in the background, and a web server in a container on it.
# NARU_SOCKET, NARU_DATA_ROOT, NARU_EXEC_ROOT, NARU_BIP, NARU_LOG and NARU_DEMO_PORT make a second
# engine beside the first.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/.venv/bin
socket=${NARU_SOCKET:-/run/naru/naru.sock}
data=${NARU_DATA_ROOT:-/var/lib/naru}
exec_root=${NARU_EXEC_ROOT:-/run/naru}
pidfile=$exec_root/narud.pid
log=${NARU_LOG:-/var/log/narud.log}
port=${NARU_DEMO_PORT:-8088}
bip=${NARU_BIP:-}
name=naru-demo-web
export NARU_HOST=unix://$socket
unset DOCKER_HOST DOCKER_CONTEXT

shown=$bin/naru
[ "$socket" = /run/naru/naru.sock ] || shown="$bin/naru -H $NARU_HOST"

naru() { "$bin/naru" "$@"; }
alive() { naru version >/dev/null 2>&1; }
die() { echo "make run: $*" >&2; exit 1; }

start_engine() {
  if alive; then
    echo "narud runs already, on $socket"
    return
  fi
  mkdir -p "$(dirname "$log")"
  arguments=(--data-root "$data" --exec-root "$exec_root" --pidfile "$pidfile" -H "unix://$socket")
  [ -z "$bip" ] || arguments+=(--bip "$bip")
  setsid "$bin/narud" "${arguments[@]}" >>"$log" 2>&1 </dev/null &
  engine=$!
  for _ in $(seq 200); do
    alive && break
    kill -0 "$engine" 2>/dev/null || { tail -n 20 "$log" >&2; die "narud ended; its log is $log"; }
    sleep 0.05
  done
  alive || die "narud does not answer on $socket after 10 s; its log is $log"
  echo "narud was started, on $socket (log: $log)"
}

make_image() {
  if naru image inspect busybox:latest >/dev/null 2>&1; then
    echo "image busybox:latest is there already"
    return
  fi
  "$bin/python" tools/busybox_image.py | naru import --change 'CMD ["sh"]' - busybox:latest >/dev/null
  echo "image busybox:latest was made from Debian's busybox-static package"
}

start_web() {
  if [ "$(naru inspect --format '{{.State.Status}}' "$name" 2>/dev/null)" = running ]; then
    port=$(naru port "$name" 80/tcp | sed -n '1s/.*://p')
    echo "container $name runs already"
    return
  fi
  naru rm -f "$name" >/dev/null 2>&1 || true
  naru run -d --name "$name" -p "$port:80" busybox \
    sh -c 'mkdir -p /www && echo "Hello from a container on Naru." >/www/index.html && exec httpd -f -h /www' >/dev/null || {
    naru rm -f "$name" >/dev/null 2>&1 || true
    die "the web server was not started; where port $port is taken: NARU_DEMO_PORT=8089 make run"
  }
  echo "container $name was created and started, port $port published"
}

fetch_page() {
  "$bin/python" - "http://127.0.0.1:$port/" <<'PYTHON'
import sys
import time
import urllib.request

deadline = time.monotonic() + 5
while True:
    try:
        with urllib.request.urlopen(sys.argv[1], timeout=2) as answer:
            status, page = answer.status, answer.read().decode().strip()
        break
    except OSError as error:
        if time.monotonic() > deadline:
            sys.exit(f"make run: {sys.argv[1]} does not answer: {error}")
print(f"GET {sys.argv[1]} answered {status}: {page}")
PYTHON
}

case ${1:-} in
  run)
    [ "$(id -u)" = 0 ] || die "containers need root: run 'sudo make run'"
    start_engine
    make_image
    start_web
    fetch_page
    cat <<TEXT

Open http://127.0.0.1:$port/ and try next:
  $shown ps
  $shown exec -it $name sh
  $shown logs -f $name
'make stop' ends all of it.
TEXT
    ;;
  stop)
    [ "$(id -u)" = 0 ] || { echo "make stop: run 'sudo make stop'" >&2; exit 1; }
    if alive; then
      naru rm -f "$name" >/dev/null 2>&1 || true
      running=$(naru ps -q | wc -l)
      [ "$running" = 0 ] || echo "$running other containers go on running without narud"
    fi
    if [ -f "$pidfile" ] && kill -TERM "$(cat "$pidfile")" 2>/dev/null; then
      pid=$(cat "$pidfile")
      for _ in $(seq 200); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.05
      done
      if kill -0 "$pid" 2>/dev/null; then
        echo "make stop: narud (process $pid) has not ended after 10 s; its log is $log" >&2
        exit 1
      fi
      echo "narud was stopped"
    elif alive; then
      echo "narud on $socket was not started by 'make run', so it goes on"
    else
      echo "narud does not run"
    fi
    ;;
  *) echo "usage: tools/demo.sh run|stop" >&2; exit 2 ;;
esac
