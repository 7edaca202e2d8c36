#!/bin/sh
# Installs Chromium for the tests of the page: 113 MB to download, 414 MB on disk. Needs apt (Debian, Ubuntu) and root.
# Does nothing where a Chromium or Chrome is on PATH. Where it cannot be installed, those tests are skipped and say so.
set -eu

OPTIONS="-o DPkg::Lock::Timeout=300 -o Acquire::Retries=3"

say() { printf '\033[1m[setup]\033[0m %s\n' "$*"; }
has() { command -v "$1" >/dev/null 2>&1; }

for browser in chromium chromium-browser google-chrome; do
    if has "$browser"; then exit 0; fi
done
if ! has apt-get || [ "$(id -u)" -ne 0 ]; then
    say "no browser, and no root with apt to install one: tests of the page in a browser are skipped (apt install chromium)"
    exit 0
fi
say "apt-get install chromium, for the tests of the page"
apt-get $OPTIONS -q update >/dev/null || true
DEBIAN_FRONTEND=noninteractive apt-get $OPTIONS -q -y install --no-install-recommends chromium >/dev/null
