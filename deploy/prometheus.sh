#!/bin/sh
# Unpacks prometheus and promtool for the tests into .cache/prometheus: nothing is installed, nothing is started.
# Needs apt (Debian, Ubuntu), not root. Does nothing where both are on PATH or unpacked already.
set -eu
cd "$(dirname "$0")/.."

TARGET=$PWD/.cache/prometheus
OPTIONS="-o Dir::State::lists=$TARGET/lists -o Dir::Cache=$TARGET/cache -o Debug::NoLocking=1 -o Acquire::Retries=3"
OPTIONS="$OPTIONS -o APT::Sandbox::User=root"

say() { printf '\033[1m[setup]\033[0m %s\n' "$*"; }
has() { command -v "$1" >/dev/null 2>&1; }

if has prometheus && has promtool || [ -x "$TARGET/root/usr/bin/promtool" ]; then exit 0; fi
if ! has apt-get || ! has dpkg-deb; then
    say "no apt here: tests of dashboards and alerts are skipped unless prometheus and promtool are on PATH"
    exit 0
fi
say "unpacking prometheus for the tests (23 MB)"
mkdir -p "$TARGET/lists/partial" "$TARGET/cache/archives/partial"
cd "$TARGET"
apt-get $OPTIONS -q update >/dev/null || true
if ! apt-get $OPTIONS -q download prometheus >/dev/null; then
    say "prometheus cannot be downloaded now: tests of dashboards and alerts will fail and say so"
    exit 0
fi
for package in ./*.deb; do dpkg-deb -x "$package" root; done
rm -rf ./*.deb lists cache
