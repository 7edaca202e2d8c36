#!/bin/sh
# The speech engines and word lists that the training corpus is made with (Debian packages).
set -eu

PACKAGES="espeak-ng flite festival festvox-kallpc16k festvox-kdlpc16k festvox-us-slt-hts fortunes wamerican"

missing=
for program in espeak-ng flite festival; do command -v "$program" >/dev/null 2>&1 || missing="$missing $program"; done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "training needs$missing; on Debian or Ubuntu: sudo apt-get install $PACKAGES" >&2
    exit 1
fi
apt-get -o DPkg::Lock::Timeout=300 -q update >/dev/null
DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -q -y install --no-install-recommends $PACKAGES >/dev/null
