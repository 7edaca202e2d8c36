#!/bin/sh
# Makes the passwords of Redis once and its access list from them; run before Redis by the service `secrets`.
#
# /secrets/clients    password          the user `talkinghead`: what gateway, control tasks and workers need
# /secrets/exporter   passwords.json    the user `exporter`: reads figures, no data
# /secrets/server     users.acl         hashes only; the default user is off, `health` may do nothing but PING
set -eu
umask 0222

password() { # file
    [ -s "$1" ] || { head -c 32 /dev/urandom | sha256sum | cut -d ' ' -f 1 > "$1.new" && mv -f "$1.new" "$1"; }
}
hash() { printf %s "$(cat "$1")" | sha256sum | cut -d ' ' -f 1; }

password /secrets/clients/password
password /secrets/exporter/password
exporter=$(cat /secrets/exporter/password)
rm -f /secrets/exporter/passwords.json /secrets/server/users.acl
printf '{"redis://redis:6379": "%s", "redis://exporter@redis:6379": "%s"}\n' "$exporter" "$exporter" \
    > /secrets/exporter/passwords.json
# Celery's queue and its bookkeeping are `control*`, `_kombu*` and `unacked*`; everything else is `th:*`.
cat > /secrets/server/users.acl <<ACL
user default off
user talkinghead on #$(hash /secrets/clients/password) ~th:* ~control* ~_kombu* ~unacked* ~celery* &* +@all -@admin -@dangerous +info
user exporter on #$(hash /secrets/exporter/password) resetkeys resetchannels -@all +ping +info +latency|latest +latency|histogram +slowlog|len +slowlog|get +client|setname +config|get
user health on nopass resetkeys resetchannels -@all +ping
ACL
echo "passwords of Redis are in place"
