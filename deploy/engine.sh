#!/bin/sh
# A Docker engine for `make smoke` where there is none: on a plain Debian machine, as root.
#
#   deploy/engine.sh start DIR     installs Debian's packages, starts the engine in a network namespace of its own (its
#                                  firewall rules stay out of the machine's), fetches or makes the images that the
#                                  project names; DIR/env then holds what a shell needs, DIR/stand-ins what was made,
#                                  and DIR/ready is there when all went well
#   deploy/engine.sh stop DIR      ends it and removes everything in DIR
#
# An image that no registry gives is made from Debian packages under the official name: the same programs in other
# versions. What such a stand-in proves about the official image is its caller's to say.
set -eu
ROOT=$(cd "$(dirname "$0")/.." && pwd)
CACHE=$ROOT/.cache/smoke
ACTION=$1
DIR=$2
NAME=th-$(printf %s "$DIR" | cksum | cut -d ' ' -f 1)  # an interface's name has at most 15 letters
PACKAGES="docker.io docker-compose debootstrap iproute2 iptables e2fsprogs ca-certificates"
PULL_S=300

say() { printf '[engine] %s\n' "$*"; }

install_packages() {
    missing=$(for name in $PACKAGES; do dpkg -s "$name" >/dev/null 2>&1 || echo "$name"; done)
    [ -n "$missing" ] || return 0
    say "apt-get install" $missing
    apt-get -o DPkg::Lock::Timeout=300 -q update >/dev/null || true
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -q -y install --no-install-recommends $missing \
        >"$DIR/apt.log" 2>&1 || { tail -n 5 "$DIR/apt.log"; exit 1; }
}

make_network() { # a namespace behind a pair of interfaces; what leaves it takes this machine's address
    net=10.231.$(($$ % 250))
    ip netns add "$NAME"
    ip link add "$NAME" type veth peer name inner netns "$NAME"
    ip addr add "$net.1/30" dev "$NAME"
    mtu=$(ip -o link show "$(ip route show default | sed -n 's/.* dev \([^ ]*\).*/\1/p' | head -n 1)" | sed -n 's/.* mtu \([0-9]*\).*/\1/p')
    ip link set "$NAME" mtu "${mtu:-1500}" up
    nsenter --net="/run/netns/$NAME" sh -c "ip link set lo up; ip addr add $net.2/30 dev inner
        ip link set inner mtu ${mtu:-1500} up; ip route add default via $net.1"
    cat /proc/sys/net/ipv4/ip_forward > "$DIR/ip_forward"
    echo 1 > /proc/sys/net/ipv4/ip_forward
    echo "$net" > "$DIR/net"
    rules -A -I
}

rules() { # how to change a chain at its end, how at its beginning
    net=$(cat "$DIR/net")
    iptables -t nat "$1" POSTROUTING -s "$net.0/30" -j MASQUERADE
    iptables "$2" FORWARD -i "$NAME" -j ACCEPT
    iptables "$2" FORWARD -o "$NAME" -j ACCEPT
}

make_disk() { # a file system in one file: removing it is one deletion, not half a million
    mkdir -p "$DIR/data"
    truncate -s 60G "$DIR/disk" && mkfs.ext4 -q -F -E nodiscard "$DIR/disk" && mount -o loop,nodiscard "$DIR/disk" "$DIR/data" &&
        return
    rm -f "$DIR/disk"
    say "no loop device: the engine's data lie in a plain folder, whose removal may take minutes"
}

start_daemon() {
    # Limits cannot always be raised where this runs, so the engine keeps the adjustment it is started with.
    nsenter --net="/run/netns/$NAME" dockerd --data-root "$DIR/data" --exec-root "$DIR/run" --pidfile "$DIR/pid" \
        -H "unix://$DIR/docker.sock" --oom-score-adjust=0 --mtu="${mtu:-1500}" >"$DIR/dockerd.log" 2>&1 &
    # Debian's own client: a newer one earlier on PATH may lack the parts that build and compose.
    {
        echo "export DOCKER_HOST=unix://$DIR/docker.sock DOCKER_BUILDKIT=1 COMPOSE_DOCKER_CLI_BUILD=1"
        echo "export PATH=/usr/bin:$PATH"
        echo "IN_NETWORK='nsenter --net=/run/netns/$NAME'"
    } > "$DIR/env"
    . "$DIR/env"
    for _ in $(seq 100); do
        if docker info >/dev/null 2>&1; then return; fi
        sleep 0.3
    done
    say "the engine did not start:"; tail -n 20 "$DIR/dockerd.log"; exit 1
}

named_images() { # every image that the project takes from a registry
    sed -n 's/^ *image: *//p' "$ROOT/docker-compose.yml" | grep -v '^talkinghead/'
    sed -n 's/^ARG BASE_IMAGE=//p' "$ROOT"/deploy/Dockerfile.*
}

base_image() { # a small Debian with Python, kept in .cache because it takes minutes
    if docker image inspect stand-in/base >/dev/null 2>&1; then return; fi
    if [ ! -s "$CACHE/base.tar" ]; then
        say "debootstrap (minutes)"
        mkdir -p "$CACHE"
        debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv,python3-pip bookworm \
            "$DIR/rootfs" >"$DIR/debootstrap.log" 2>&1 || { tail -n 5 "$DIR/debootstrap.log"; exit 1; }
        # Certificates of a network with an authority of its own.
        cp /etc/ssl/certs/ca-certificates.crt "$DIR/rootfs/etc/ssl/certs/ca-certificates.crt"
        printf '#!/bin/sh\nexit 101\n' > "$DIR/rootfs/usr/sbin/policy-rc.d"
        chmod +x "$DIR/rootfs/usr/sbin/policy-rc.d"
        rm -rf "$DIR"/rootfs/var/cache/apt/archives/*.deb "$DIR"/rootfs/usr/lib/python3*/EXTERNALLY-MANAGED
        tar -C "$DIR/rootfs" -c . > "$CACHE/base.tar.new" && mv "$CACHE/base.tar.new" "$CACHE/base.tar"
        rm -rf "$DIR/rootfs"
    fi
    docker import "$CACHE/base.tar" stand-in/base >/dev/null
}

recipe() { # Dockerfile of the stand-in for an image, nothing when there is none
    apt="apt-get -q update >/dev/null && apt-get -q -y install --no-install-recommends"
    echo "FROM stand-in/base"
    case $1 in
    python:3.11*)
        echo "ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt PIP_CERT=/etc/ssl/certs/ca-certificates.crt"
        echo "RUN ln -s /usr/bin/python3 /usr/local/bin/python && ln -sf /usr/bin/pip3 /usr/local/bin/pip" ;;
    redis:*)
        echo "RUN groupadd -r -g 999 redis && useradd -r -u 999 -g redis redis && $apt redis-server"
        echo "RUN install -d -o redis -g redis /data"
        echo "VOLUME /data"
        echo "WORKDIR /data" ;;
    prom/prometheus:*)
        echo "RUN $apt prometheus && install -d -o nobody -g nogroup /prometheus /etc/prometheus"
        echo "USER nobody"
        echo 'ENTRYPOINT ["/bin/prometheus"]' ;;
    prom/alertmanager:*)
        echo "RUN $apt prometheus-alertmanager && install -d -o nobody -g nogroup /alertmanager"
        echo "USER nobody"
        echo 'ENTRYPOINT ["/usr/bin/prometheus-alertmanager"]' ;;
    oliver006/redis_exporter:*)
        echo "RUN $apt prometheus-redis-exporter"
        echo "USER nobody"
        echo 'ENTRYPOINT ["/usr/bin/prometheus-redis-exporter"]' ;;
    *) return 1 ;;
    esac
}

obtain_images() {
    : > "$DIR/stand-ins"
    for image in $(named_images | sort -u); do
        if timeout "$PULL_S" docker pull -q "$image" >/dev/null 2>&1; then say "$image: pulled"; continue; fi
        if ! recipe "$image" > "$DIR/recipe"; then say "$image: not to be had"; continue; fi
        base_image
        docker build -q -t "$image" - < "$DIR/recipe" >"$DIR/build.log" 2>&1 || { tail -n 20 "$DIR/build.log"; exit 1; }
        say "$image: a stand-in from Debian packages"
        echo "$image" >> "$DIR/stand-ins"
    done
}

start() {
    mkdir -p "$DIR"
    install_packages
    make_network
    make_disk
    start_daemon
    obtain_images
    touch "$DIR/ready"
}

stop() {
    if [ -s "$DIR/pid" ]; then
        daemon=$(cat "$DIR/pid")
        kill "$daemon" 2>/dev/null || true
        for _ in $(seq 200); do kill -0 "$daemon" 2>/dev/null || break; sleep 0.1; done
    fi
    if [ -s "$DIR/net" ]; then
        rules -D -D 2>/dev/null || true
        cat "$DIR/ip_forward" > /proc/sys/net/ipv4/ip_forward
        ip link delete "$NAME" 2>/dev/null || true
        ip netns delete "$NAME" 2>/dev/null || true
    fi
    sed -n "s#^[^ ]* \($DIR/[^ ]*\) .*#\1#p" /proc/mounts | sort -r | while read -r place; do umount "$place" || true; done
    rm -rf "$DIR"
}

case $ACTION in
start) start ;;
stop) stop ;;
*) echo "deploy/engine.sh start|stop DIR" >&2; exit 2 ;;
esac
