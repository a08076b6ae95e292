#!/bin/sh
# engine.sh tools      installs dockerd and the network tools from the distribution's packages where they are missing
# engine.sh peers      installs what benchmarks are run beside: haproxy
# engine.sh up DIR     makes sure that a Docker engine answers, and prints its address; starts a private one in DIR if need be
# engine.sh down DIR   ends the engine that `up` started in DIR
# Messages go to stderr.
set -eu

say() { echo "==> $*" >&2; }
die() { echo "error: $*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
answers() { have docker && DOCKER_HOST=$1 timeout 10 docker version >/dev/null 2>&1; }

root() {
	if [ "$(id -u)" = 0 ]; then "$@"; elif have sudo; then sudo "$@"; else die "this needs root: $*"; fi
}

tools() {
	PATH=$PATH:/usr/sbin:/sbin
	missing=
	have dockerd && have docker || missing="$missing docker.io"
	have ip || missing="$missing iproute2"
	have nft || missing="$missing nftables"
	have iptables || missing="$missing iptables"
	have tmux || missing="$missing tmux" # the terminal that the dashboard is tested in
	[ -n "$missing" ] || return 0
	have apt-get || die "missing:$missing. Install Docker and the tools above with your distribution's package manager."
	say "installing from the distribution's packages:$missing"
	root apt-get update -qq >&2
	# Newer releases have the command line in a package of its own.
	if ! have docker && apt-cache show docker-cli >/dev/null 2>&1; then missing="$missing docker-cli"; fi
	root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >&2
}

peers() {
	PATH=$PATH:/usr/sbin:/sbin
	have haproxy && return 0
	have apt-get || { say "no haproxy: what is measured beside it is left out"; return 0; }
	say "installing haproxy from the distribution's packages, to measure beside it"
	root apt-get update -qq >&2
	root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends haproxy >&2
}

wait_for() {
	i=0
	while ! answers "$1"; do
		i=$((i + 1))
		[ "$i" -lt "$2" ] || return 1
		sleep 0.5
	done
}

up() {
	dir=$1 system=${DOCKER_HOST:-unix:///var/run/docker.sock} private=unix://$1/docker.sock
	if answers "$system"; then echo "$system"; return; fi
	if answers "$private"; then echo "$private"; return; fi
	[ -z "${DOCKER_HOST:-}" ] || die "DOCKER_HOST is $DOCKER_HOST, but nothing answers there"
	if [ -S /var/run/docker.sock ] && [ ! -w /var/run/docker.sock ]; then
		die "no permission for /var/run/docker.sock: run this as root, or join its group: sudo usermod -aG docker \$USER"
	fi
	tools
	if [ -d /run/systemd/system ]; then
		say "starting Docker with systemd"
		root systemctl start docker >&2
	fi
	# A package's own start-up may still be under way.
	if [ -d /run/systemd/system ] && wait_for "$system" 60; then echo "$system"; return; fi
	if answers "$system"; then echo "$system"; return; fi
	[ "$(id -u)" = 0 ] || die "no Docker engine answers, and starting one needs root"
	say "no Docker engine runs and no init system would start one: starting a private one in $dir"
	mkdir -p "$dir/engine"
	echo '{}' >"$dir/engine/daemon.json"
	setsid dockerd --config-file "$dir/engine/daemon.json" --host "$private" --data-root "$dir/engine/data" --exec-root "$dir/engine/run" \
		--pidfile "$dir/engine/pid" </dev/null >"$dir/engine/log" 2>&1 &
	wait_for "$private" 120 || { tail -n 20 "$dir/engine/log" >&2; die "the engine does not start; its log is $dir/engine/log"; }
	echo "$private"
}

down() {
	dir=$1
	[ -f "$dir/engine/pid" ] || return 0
	pid=$(cat "$dir/engine/pid")
	say "stopping the private Docker engine"
	kill "$pid" 2>/dev/null || true
	i=0
	while kill -0 "$pid" 2>/dev/null && [ $i -lt 60 ]; do
		i=$((i + 1))
		sleep 0.5
	done
	# Mounts that the engine could not let go of would keep its directory.
	awk -v d="$dir/engine/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo | sort -r | xargs -r umount -l 2>/dev/null || true
	rm -rf "$dir/engine" "$dir/docker.sock"
}

case ${1:-} in
tools) tools ;;
peers) peers ;;
up) up "$2" ;;
down) down "$2" ;;
*) sed -n '2,6p' "$0" >&2; exit 2 ;;
esac
