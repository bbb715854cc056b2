# Names, folders and helpers that the scripts of the test cluster share.
# Sourced by bash; the caller has set `here` to the folder tests/cluster.

set -euo pipefail
umask 022

readonly NODE=node1
readonly NETNS=sluice-node
readonly LINK=sluice0                       # our end of the link to the node
readonly NODE_V4=10.77.0.1 NODE_V6=fd77::1  # the node: API server, provider, names
readonly HOST_V4=10.77.0.2 HOST_V6=fd77::2  # this machine, seen from the node
readonly POD_V4=10.244.0.0/16 POD_V6=fd77:244::/56
readonly SERVICE_V4=10.96.0.0/16 SERVICE_V6=fd77:96::/112
readonly DNS_V4=10.96.0.10
readonly API_PORT=6443 PROVIDER_PORT=8443
readonly TENANT=7d0d4bb1-2c4e-4f0e-9a53-3f7b5a1c9e21
readonly AUDIENCE=6dae42f8-4368-4678-94ff-3960e28e3630  # the AKS server application
# Not read-only: `env` exports these under the same names.
AKS_NAME=sluice-demo.hcp.westeurope.azmk8s.io
PROVIDER_URL=https://$NODE_V4:$PROVIDER_PORT
ISSUER_V1=$PROVIDER_URL/sts/$TENANT/
ISSUER_V2=$PROVIDER_URL/$TENANT/v2.0

readonly CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/sluice/cluster  # outlives the cluster
readonly STATE=/var/lib/sluice-cluster                        # lives as long as the cluster
readonly RUN=/run/sluice-cluster                              # process ids, sockets, the lock
readonly LOGS=$STATE/logs PKI=$STATE/pki

say() { printf 'cluster: %s\n' "$*" >&2; }

# die MESSAGE: ends the script with the reason.
die() {
    say "error: $*"
    exit 1
}

# fail PART REASON: ends the script, naming the part, its log and the log's end.
fail() {
    local log=$LOGS/$1.log
    say "error: $1: $2"
    if [ -s "$log" ]; then
        say "the last lines of $log:"
        tail -n 15 "$log" >&2
    fi
    exit 1
}

# await PART SECONDS COMMAND…: until COMMAND succeeds; fails when PART died or time is up.
await() {
    local part=$1 end=$((SECONDS + $2))
    shift 2
    until "$@" >/dev/null 2>&1; do
        alive "$part" || fail "$part" "ended while it was starting"
        [ "$SECONDS" -lt "$end" ] || fail "$part" "not ready in time (waited for: $*)"
        sleep 0.2
    done
}

# need_root: namespaces, mounts and cgroups are root's.
need_root() {
    [ "$(id -u)" = 0 ] || die "run as root: the node needs namespaces, mounts and cgroups"
}

# lock: one script changes the cluster at a time. Programs are started with 9>&-.
lock() {
    mkdir -p "$RUN"
    exec 9>"$RUN/lock"
    flock --timeout 1800 9 || die "another run holds $RUN/lock for 30 minutes; end it and try again"
}

# not_in_use: nobody runs tests on the cluster. Who does holds a shared lock on the file.
not_in_use() {
    mkdir -p "$RUN"
    exec 8>"$RUN/use"
    flock --nonblock 8 || die "tests run on the cluster (they hold $RUN/use); wait for their end, or end them"
    exec 8>&-
}

# version: a hash of everything that decides what runs.
version() {
    (cd "$here" && find lib manifests modules provider -type f -not -path '*/node_modules/*' -print0 |
        sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16)
}

# hash_of FOLDER… FILE…: a short hash of names and content, for cache keys.
hash_of() {
    (cd "$here" && find "$@" -type f -not -path '*/node_modules/*' -print0 | sort -z | xargs -0 sha256sum |
        sha256sum | cut -c1-16)
}

kubectl() { "$STATE/programs/kubectl" --kubeconfig "$STATE/admin.kubeconfig" "$@"; }
