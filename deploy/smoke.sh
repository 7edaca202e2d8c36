#!/bin/sh
# Proves docker-compose.yml: builds the images, runs the whole stack, makes the sample video, scales and kills a
# worker, asks for every figure, tears everything down. Exit status 0: all of it held.
#
#   KEEP=1              leave the stack (and an engine that was started here) running in the end
#   TH_TORCH_INDEX      package index of torch; without it the images get the torch that this machine's pip chooses
#
# Uses the Docker engine that answers. Where none does, and this is Debian and root, deploy/engine.sh starts one and
# makes images that no registry gives from Debian packages. What could not be proven that way is said: NOT PROVEN.
set -eu
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-.venv/bin/python}
PROJECT=th_smoke_$$
STATE=$(mktemp -d "${TMPDIR:-/tmp}/th-smoke-XXXXXX")
LOG=${SMOKE_LOG:-var/smoke.log}
STACK_S=600
IN_NETWORK=
OWN_ENGINE=
UNPROVEN=
MISSING=
STARTED=$(date +%s)
mkdir -p "$(dirname "$LOG")"
: > "$LOG"

say() { printf '[smoke %4ds] %s\n' "$(($(date +%s) - STARTED))" "$*" | tee -a "$LOG"; }
unproven() { UNPROVEN="$UNPROVEN
NOT PROVEN: $*"; }
fail() { say "FAILED: $*"; exit 1; }
check() { $IN_NETWORK "$PYTHON" -m tests.smoke "$@"; }
prove() { # what, a check and its arguments
    what=$1; shift
    found=$(check "$@") || fail "$what"
    say "$what: $found"
}

finish() {
    status=$?
    trap - EXIT INT TERM
    if [ "$status" -ne 0 ] && [ -n "${COMPOSE:-}" ]; then
        $COMPOSE ps >> "$LOG" 2>&1 || true
        $COMPOSE logs --no-color --tail 40 > "$LOG.services" 2>&1 || true
        say "the end of every service's log is in $LOG.services"
    fi
    if [ -n "${KEEP:-}" ]; then
        say "left running: project $PROJECT, state in $STATE (deploy/engine.sh stop $STATE/engine ends an own engine)"
    else
        [ -z "${COMPOSE:-}" ] || $COMPOSE down -v --remove-orphans --timeout 20 >/dev/null 2>&1 || true
        if [ "$status" -eq 0 ] && [ -n "$(docker ps -aq --filter "name=$PROJECT")$(docker volume ls -q --filter "name=$PROJECT")" ]; then
            say "FAILED: containers or volumes were left"; status=1
        fi
        [ -z "$OWN_ENGINE" ] || sh deploy/engine.sh stop "$STATE/engine" || status=1
        rm -rf "$STATE"
        say "torn down"
    fi
    [ -z "$UNPROVEN" ] || echo "$UNPROVEN" | sed 1d | tee -a "$LOG"
    if [ "$status" -eq 0 ]; then say "PASSED"; else say "FAILED with $status"; fi
    exit "$status"
}

find_engine() {
    if command -v docker >/dev/null 2>&1 && docker info >/dev/null 2>&1; then
        say "engine: the one that answers here"
    elif [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
        say "engine: none answers; starting one"
        OWN_ENGINE=1
        sh deploy/engine.sh start "$STATE/engine" | tee -a "$LOG"
        [ -e "$STATE/engine/ready" ] || fail "the engine did not start"
        . "$STATE/engine/env"
        while read -r image; do
            unproven "$image itself; the same program from Debian's packages ran in its place"
        done < "$STATE/engine/stand-ins"
    else
        fail "no Docker engine answers; start one (or run this as root on Debian)"
    fi
    if docker compose version >/dev/null 2>&1; then COMPOSE="docker compose"; else COMPOSE="docker-compose"; fi
    say "engine $(docker version --format '{{.Server.Version}}'), $($COMPOSE version --short 2>/dev/null | sed 's/^/compose /')"
    COMPOSE="$COMPOSE -p $PROJECT"
}

find_images() { # services whose image cannot be had are left out, and said to be
    SERVICES=
    $COMPOSE config > "$STATE/compose.yml" || fail "docker-compose.yml"
    "$PYTHON" -c 'import sys, yaml
for name, service in yaml.safe_load(sys.stdin)["services"].items():
    "profiles" in service or print(name, service["image"])' < "$STATE/compose.yml" > "$STATE/services"
    while read -r service image; do
        case $image in
        talkinghead/*) ;;
        *)
            if ! docker image inspect "$image" >/dev/null 2>&1 && ! docker pull -q "$image" >/dev/null 2>&1; then
                MISSING="$MISSING $service"
                unproven "$service: its image $image cannot be had here, so it did not run"
                continue
            fi ;;
        esac
        SERVICES="$SERVICES $service"
    done < "$STATE/services"
    say "services without an image:${MISSING:- none}"
}

build() {
    if [ -z "${TH_TORCH_INDEX:-}" ]; then
        "$PYTHON" -m pip download -q --no-deps --only-binary :all: --python-version 3.11 -d deploy/wheels \
            "$(grep '^torch==' constraints.txt)" >/dev/null 2>&1 || fail "pip finds no torch; set TH_TORCH_INDEX"
    fi
    before=$(date +%s)
    $COMPOSE build >"$STATE/build.log" 2>&1 || { tail -n 30 "$STATE/build.log"; fail "build"; }
    say "images built in $(($(date +%s) - before)) s"
    docker images --format '{{.Repository}}:{{.Tag}} {{.Size}}' | grep "^talkinghead/.*:$TH_IMAGE_TAG " | sort |
        while read -r line; do say "image $line"; done
    say "base image $(docker images --format '{{.Size}}' python:3.11-slim-bookworm)"
}

unhealthy() { # containers that are not what they should be: healthy, running without a check, or done
    docker ps -aq --filter "label=com.docker.compose.project=$PROJECT" | while read -r id; do
        docker inspect -f '{{.Name}} {{.State.Status}} {{.State.ExitCode}} {{if .State.Health}}{{.State.Health.Status}}{{end}}' "$id"
    done | grep -v -e ' running 0 healthy$' -e ' running 0 $' -e 'secrets[-_]1 exited 0 $' || true
}

wait_healthy() {
    limit=$(($(date +%s) + STACK_S))
    while [ -n "$(unhealthy)" ]; do
        if [ "$(date +%s)" -gt "$limit" ]; then unhealthy; fail "not healthy after $STACK_S s"; fi
        sleep 1
    done
}

container() { # service: id of its newest container
    docker ps -q --filter "label=com.docker.compose.project=$PROJECT" --filter "label=com.docker.compose.service=$1" | head -n 1
}

prove_stack() {
    before=$(date +%s)
    $COMPOSE up -d --no-build $SERVICES >"$STATE/up.log" 2>&1 || { tail -n 30 "$STATE/up.log"; fail "up"; }
    wait_healthy
    prove ready ready "$GATEWAY"
    say "up in $(($(date +%s) - before)) s; healthy, or running where the image has no check:$SERVICES"
}

prove_jobs() {
    prove job job "$GATEWAY" "$STATE/frames.json"
    $COMPOSE up -d --no-build --no-recreate --scale renderer=2 $SERVICES >/dev/null 2>&1
    wait_healthy
    say "scaled: $(docker ps -q --filter "label=com.docker.compose.project=$PROJECT" --filter label=com.docker.compose.service=renderer | wc -l) renderers"
    prove "renderer killed at work" kill "$GATEWAY" "$STATE/frames.json" "$(container renderer)"
    $COMPOSE up -d --no-build --no-recreate --scale renderer=2 $SERVICES >/dev/null 2>&1
    crashed=$(container renderer)
    docker exec "$crashed" sh -c 'kill -9 -1' || true
    for _ in $(seq 60); do
        [ "$(docker inspect -f '{{.RestartCount}}' "$crashed")" -eq 0 ] || break
        sleep 0.5
    done
    [ "$(docker inspect -f '{{.RestartCount}}' "$crashed")" -gt 0 ] || fail "a renderer that crashed was not started again"
    wait_healthy
    say "renderer crashed: started again by the engine"
}

prove_refusals() { # a service with a wrong configuration stops and says what to do
    refusal muxer TH_REDIS_PASSWORD_FILE=/etc/hostname "refuses us"
    refusal muxer TH_REDIS_PASSWORD_FILE=/run/secrets/none "mount the secret"
    refusal muxer TH_THREADS=many "TH_THREADS"
    refusal motion_dit TH_BUNDLE=nope "unknown bundle"
    refusal renderer TH_BUNDLE=liveportrait "talkinghead weights pull"
}

refusal() { # service, setting, words of the message
    if $COMPOSE run -T --rm --no-deps -e "$2" "$1" >"$STATE/refusal.log" 2>&1; then fail "$1 accepted $2"; fi
    grep -q "$3" "$STATE/refusal.log" || { cat "$STATE/refusal.log"; fail "$1 with $2 did not say \"$3\""; }
    say "$1 with $2 refuses to start: $(sed -n 's/.*"error": "\([^"]*\)".*/\1/p' "$STATE/refusal.log" | head -n 1)"
}

prove_isolation() { # only what must reach Redis does; what is published is reached from outside
    if docker exec "$(container demo)" python -c 'import socket; socket.create_connection(("redis", 6379), 3)' 2>/dev/null; then
        fail "the page reaches Redis"
    fi
    if $IN_NETWORK "$PYTHON" -c 'import socket; socket.create_connection(("127.0.0.1", 6379), 1)' 2>/dev/null; then
        unproven "that Redis is not published: something else answers on port 6379 of this machine"
    fi
    say "isolation: the page cannot reach Redis, and Redis is not published"
}

prove_metrics() {
    prove metrics metrics "$PROMETHEUS" gateway=1 media=1 beat=1 muxer=1 audio_encoder=1 motion_dit=1 renderer=2 \
        redis=1 prometheus=1
}

trap finish EXIT
trap 'exit 130' INT TERM
export TH_IMAGE_TAG=smoke
export TH_PUBLISH_GATEWAY=127.0.0.1:18000 TH_PUBLISH_DEMO=127.0.0.1:19995 TH_PUBLISH_PROMETHEUS=127.0.0.1:19090
export TH_PUBLISH_ALERTMANAGER=127.0.0.1:19093 TH_PUBLISH_GRAFANA=127.0.0.1:13000
GATEWAY=http://$TH_PUBLISH_GATEWAY
PROMETHEUS=http://$TH_PUBLISH_PROMETHEUS
find_engine
find_images
build
prove_stack
prove_jobs
prove_refusals
prove_isolation
prove page page "http://$TH_PUBLISH_DEMO"
prove_metrics
