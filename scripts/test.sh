#!/bin/sh
# test.sh ARGS...   go test with a Docker engine at hand; one that had to be started for it is stopped after it.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/sbin:/sbin
dir=${TMPDIR:-/tmp}/orch-test-engine
if DOCKER_HOST=$(sh scripts/engine.sh up "$dir"); then
	export DOCKER_HOST
	trap 'sh scripts/engine.sh down "$dir"' EXIT
	trap 'exit 130' INT TERM
	sh scripts/engine.sh tools
elif [ "${ORCH_TEST_DOCKER:-}" = required ]; then
	exit 1
else
	unset DOCKER_HOST
	echo "==> no Docker: tests that need it are skipped" >&2
fi
go test -timeout 20m "$@"
