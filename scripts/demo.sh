#!/bin/sh
# demo.sh up     a one-node cluster of its own in .demo/, with examples/visits on it; running it again is fine
# demo.sh down   takes everything away again
set -eu
cd "$(dirname "$0")/.."
dir=$PWD/.demo
export ORCH_HOST="unix://$dir/orch.sock" VISITS_PORT="${VISITS_PORT:-8080}"
ARCH=$(go env GOARCH)
export ARCH

say() { printf '\n==> %s\n' "$*"; }
in_cluster() { bin/orch info --json 2>/dev/null | grep -q '"LocalNodeState": "active"'; }

up() {
	mkdir -p "$dir"
	docker_host=$(sh scripts/engine.sh up "$dir")
	echo "$docker_host" >"$dir/docker-host"
	if ! in_cluster; then
		say "orch init (data and socket in .demo/)"
		bin/orch init --supervisor process --data-dir "$dir/data" --docker-host "$docker_host" \
			--listen-addr 127.0.0.1:23770 --advertise-addr 127.0.0.1:23770 || in_cluster
	fi
	say "building examples/visits"
	make -s -C examples/visits
	say "orch deploy -c examples/visits/compose.yml"
	bin/orch deploy -c examples/visits/compose.yml
	say "a request to http://127.0.0.1:$VISITS_PORT/"
	go run ./test/app get "http://127.0.0.1:$VISITS_PORT/"
	say "orch ps"
	bin/orch ps
	cat <<END

Look further:
  export ORCH_HOST=$ORCH_HOST
  bin/orch ui                          # everything live
  bin/orch logs -f visits              # the logs of all tasks
  bin/orch scale visits_web=5          # and watch bin/orch ps
  DOCKER_HOST=\$ORCH_HOST docker service ls
Take it down:
  make demo-down
END
}

down() {
	if [ ! -d "$dir" ]; then
		echo "there is no demo"
		return
	fi
	docker_host=$(cat "$dir/docker-host" 2>/dev/null || echo unix:///var/run/docker.sock)
	if in_cluster; then
		bin/orch rm visits || true
	fi
	bin/orch leave --force --data-dir "$dir/data" || true
	sweep "$docker_host"
	sh scripts/engine.sh down "$dir"
	make -s -C examples/visits clean
	rm -rf "$dir"
	say "the demo is gone"
}

# sweep removes what belongs to the demo's stack: its volumes and images, which outlive a stack on purpose, and what a
# daemon that was killed could not take away itself.
sweep() {
	export DOCKER_HOST="$1"
	if [ -f "$dir/data/daemon.pid" ]; then
		kill "$(cat "$dir/data/daemon.pid")" 2>/dev/null || true
	fi
	mine=label=com.docker.stack.namespace=visits
	docker ps -aq --filter $mine | xargs -r docker rm -f >/dev/null
	docker network ls -q --filter $mine | xargs -r docker network rm >/dev/null || true
	docker volume ls -q --filter $mine | xargs -r docker volume rm >/dev/null || true
	for name in web api store worker migrate; do docker image rm "visits-$name" >/dev/null 2>&1 || true; done
}

case ${1:-} in
up) up ;;
down) down ;;
*) sed -n '2,3p' "$0" >&2; exit 2 ;;
esac
