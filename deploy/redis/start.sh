#!/bin/sh
# Starts Redis, after cutting off what a crash tore: Redis 7.0 ends a file torn inside a transaction at the last whole
# command, redis-check-aof before the transaction. A file beyond repair is left to the server, which says so.
set -eu
manifest=/data/appendonlydir/appendonly.aof.manifest
if [ -e "$manifest" ]; then
    echo y | redis-check-aof --fix "$manifest" || true
fi
exec redis-server /etc/redis/redis.conf --maxmemory "$REDIS_MAXMEMORY"
