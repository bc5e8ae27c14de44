#!/bin/bash
# MariaDB, Redis, nginx, three copies of a Python application and fail2ban, from Debian's packages, on an
# engine in a network namespace of its own. Kills narud and the database in the middle. Prints what held;
# fails at the first thing that did not. Needs root, mmdebstrap, curl and the docker command line.
# The image (550 MB) is made once, in $NARU_REAL_CACHE (default /var/tmp/naru-real).
set -euo pipefail
cd "$(dirname "$0")/.."
cache=${NARU_REAL_CACHE:-/var/tmp/naru-real}
space=naru-real work=$(mktemp -d)
inside=(nsenter "--net=/var/run/netns/$space")
export DOCKER_HOST=unix://$work/sock
url=http://127.0.0.1:8088/

missing=$(for name in mmdebstrap curl docker ip; do command -v "$name" >/dev/null || echo "$name"; done)
[ -z "$missing" ] || { echo "try-real: install first: $missing" >&2; exit 1; }

make_image() {
  [ -f "$cache/real.tar" ] && return
  mirror=$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/debian.sources 2>/dev/null | head -n 1)
  [ -n "$mirror" ] || mirror=$(awk '$1=="deb"{for(i=2;i<=NF;i++) if($i ~ /^http/){print $i; exit}}' /etc/apt/sources.list)
  mkdir -p "$cache"
  mmdebstrap --quiet --aptopt='Acquire::Check-Valid-Until "false"' --variant=minbase --mode=root \
    --include=mariadb-server,redis-server,nginx-light,python3-minimal,python3-pymysql,fail2ban,nftables \
    bookworm "$cache/real.part.tar" "$mirror"
  mv "$cache/real.part.tar" "$cache/real.tar"
}

start() {
  setsid "${inside[@]}" .venv/bin/narud --data-root "$work/data" --exec-root "$work/exec" \
    --pidfile "$work/pid" -H "$DOCKER_HOST" --bip 172.27.20.1/24 >>"$work/log" 2>&1 </dev/null &
  until docker version >/dev/null 2>&1; do sleep 0.1; done
}

end() {
  docker ps -aq 2>/dev/null | xargs -r docker rm -f >/dev/null 2>&1 || true
  [ -f "$work/pid" ] && kill "$(cat "$work/pid")" 2>/dev/null && sleep 2
  ip netns del "$space" 2>/dev/null || true
  grep -m 1 Traceback "$work/log" && echo "try-real: a traceback in the engine's log" >&2
  rm -rf "$work"
}

fetch() { "${inside[@]}" curl -s -m 5 "$url"; }
until_rows() { for _ in $(seq 100); do fetch | grep -q rows= && return; sleep 0.3; done; echo "FAILED: $1" >&2; exit 1; }
hosts() { for _ in 1 2 3 4 5 6 7 8 9; do fetch; done | awk '{print $1}' | sort -u | xargs; }
held() { [ "$2" = "$3" ] || { echo "FAILED: $1: got '$2', wanted '$3'" >&2; exit 1; }; echo "held: $1 ($2)"; }

make_image
ip netns add "$space"
trap end EXIT
"${inside[@]}" ip link set lo up
start
docker import "$cache/real.tar" real:latest >/dev/null
docker network create back >/dev/null
docker volume create dbdata >/dev/null
docker run -d --name db --network back -v dbdata:/var/lib/mysql --restart always \
  --health-cmd 'mysqladmin ping -h 127.0.0.1 --silent' --health-interval 1s --health-retries 60 real sh -c '
    [ -d /var/lib/mysql/mysql ] || mysql_install_db --user=mysql >/dev/null
    mkdir -p /run/mysqld && chown mysql /run/mysqld
    printf "%s\n" "create database if not exists app;" \
      "create user if not exists app@\"%\" identified by \"secret\";" \
      "grant all on app.* to app@\"%\";" > /tmp/init.sql && chmod 644 /tmp/init.sql
    exec mariadbd --user=mysql --bind-address=0.0.0.0 --init-file=/tmp/init.sql' >/dev/null
docker run -d --name cache --network back real redis-server --bind 0.0.0.0 --protected-mode no >/dev/null
until [ "$(docker inspect -f '{{.State.Health.Status}}' db)" = healthy ]; do sleep 0.3; done
echo "held: the database is healthy"
for number in 1 2 3; do
  docker run -d --name "app$number" --hostname "app$number" --network back --network-alias app \
    -v "$PWD/examples/backend:/backend:ro" real python3 /backend/app.py >/dev/null
done
docker run -d --name web --network back -p 8088:80 \
  -v "$PWD/examples/backend/nginx.conf:/etc/nginx/nginx.conf:ro" real nginx >/dev/null
until_rows "the first answer"
held "nginx balances over the shared alias" "$(hosts)" "app1 app2 app3"

kill -9 "$(cat "$work/pid")"
held "without narud all goes on" "$(hosts)" "app1 app2 app3"
start
held "the next narud has the containers" "$(docker ps -q | wc -l)" 6
kill -9 "$(docker inspect -f '{{.State.Pid}}' db)"
until_rows "the database is back"
held "the policy started the database again" "$(docker inspect -f '{{.RestartCount}}' db)" 1
before=$(fetch | sed 's/.*rows=\([0-9]*\).*/\1/')
[ "$before" -gt 18 ] || { echo "FAILED: rows were lost: $before" >&2; exit 1; }
echo "held: no row was lost ($before)"
docker stop -t 1 app2 >/dev/null
sleep 1.5
held "a stopped copy gets no more requests" "$(hosts)" "app1 app3"

docker run -d --name f2b --network host --privileged real sh -c '
  mkdir -p /var/run/fail2ban /var/log && touch /var/log/app.log && rm -f /etc/fail2ban/jail.d/*
  printf "[Definition]\nfailregex = ^bad <HOST>$\ndatepattern = {NONE}\n" > /etc/fail2ban/filter.d/app.conf
  printf "[DEFAULT]\nbanaction = nftables\n[app]\nenabled = true\nbackend = polling\nlogpath = /var/log/app.log\nport = 8088\nmaxretry = 2\nfindtime = 600\n[sshd]\nenabled = false\n" > /etc/fail2ban/jail.local
  exec fail2ban-server -f start' >/dev/null
until docker exec f2b fail2ban-client status app >/dev/null 2>&1; do sleep 0.3; done
docker exec f2b sh -c 'for i in 1 2 3 4; do echo "bad 203.0.113.9" >> /var/log/app.log; done'
until "${inside[@]}" nft list ruleset | grep -q 203.0.113.9; do sleep 0.3; done
echo "held: fail2ban banned an address in the host's firewall"
held "Naru's own rules stay intact" "$(hosts)" "app1 app3"
echo "try-real: all held"
