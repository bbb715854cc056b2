# The node: a network namespace with a link to this machine, a mount namespace, and
# one cgroup that holds every process of the cluster. The cgroup is the record of
# what to end: it survives a crash of these scripts and cannot name a stranger.

# The hierarchy in which processes are tracked (cgroup v2, else v1's pids).
if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
    readonly TRACKED=/sys/fs/cgroup/$NETNS
else
    readonly TRACKED=/sys/fs/cgroup/pids/$NETNS
fi

# Paths that programs have compiled in; in the node they lead into STATE.
readonly REDIRECTED=(/etc/cni /run/containerd /var/lib/cni /var/lib/kubelet /var/log/containers /var/log/pods)

# Kernel settings that the kubelet insists on. The node sees these values; the machine keeps its own.
readonly PRETENDED=(kernel/keys/root_maxbytes=25000000 kernel/keys/root_maxkeys=1000000 kernel/panic=10
    kernel/panic_on_oops=1 vm/overcommit_memory=1)

# alive PART: its recorded process still runs.
alive() {
    [ -s "$RUN/$1.pid" ] && grep -qx "$(cat "$RUN/$1.pid")" "$TRACKED/parts/$1/cgroup.procs" 2>/dev/null
}

# start PART PROGRAM ARGUMENTS…: runs it in the node unless it runs already.
start() {
    local part=$1
    shift
    alive "$part" && return
    say "starting $part"
    launch "$part" nsenter --net="/run/netns/$NETNS" --mount="/proc/$(cat "$RUN/holder.pid")/ns/mnt" -- "$@"
}

# launch PART COMMAND…: in the part's cgroup, in the background, logging to its file.
launch() {
    local part=$1
    shift
    mkdir -p "$TRACKED/parts/$part"
    (
        echo "$BASHPID" >"$TRACKED/parts/$part/cgroup.procs"
        echo "$BASHPID" >"$RUN/$part.pid"
        exec setsid "$@"
    ) >>"$LOGS/$part.log" 2>&1 </dev/null 9>&- &
    until alive "$part" || ! kill -0 $! 2>/dev/null; do sleep 0.05; done
}

# inside COMMAND…: runs it in the node's namespaces and waits for it.
inside() {
    nsenter --net="/run/netns/$NETNS" --mount="/proc/$(cat "$RUN/holder.pid")/ns/mnt" -- "$@"
}

make_node() {
    make_cgroups
    make_network
    has_mounts || make_mounts
}

# has_mounts: the mount namespace is there, and complete.
has_mounts() { [ -f "$STATE/mounted" ] && alive holder; }

make_cgroups() {
    local hierarchy
    mkdir -p "$TRACKED/parts"
    [ -f /sys/fs/cgroup/cgroup.controllers ] && return
    for hierarchy in /sys/fs/cgroup/*/; do
        mkdir -p "$hierarchy$NETNS"
    done
}

# The holder's mount namespace receives every mount of the cluster, so that none is seen outside
# and all are gone when its processes are.
make_mounts() {
    local path pair
    for path in "${REDIRECTED[@]}"; do
        mkdir -p "$path" "$STATE/root$path"
    done
    launch holder nsenter --net="/run/netns/$NETNS" -- unshare --mount --propagation private -- sleep infinity
    await holder 10 separate_mounts
    inside mount --make-rshared /
    for path in "${REDIRECTED[@]}"; do
        inside mount --bind "$STATE/root$path" "$path"
    done
    printf 'nameserver %s\n' "$NODE_V4" >"$STATE/resolv.conf"
    inside mount --bind "$STATE/resolv.conf" "$(realpath /etc/resolv.conf)"
    for pair in "${PRETENDED[@]}"; do
        path=$STATE/root/proc/sys/${pair%=*}
        mkdir -p "$(dirname "$path")"
        printf '%s\n' "${pair#*=}" >"$path"
        inside mount --bind "$path" "/proc/sys/${pair%=*}"
    done
    touch "$STATE/mounted"
}

separate_mounts() {
    [ "$(readlink "/proc/$(cat "$RUN/holder.pid")/ns/mnt")" != "$(readlink /proc/self/ns/mnt)" ]
}

# our_cgroups: the cluster's cgroup in every hierarchy.
our_cgroups() {
    local cgroup
    for cgroup in "/sys/fs/cgroup/$NETNS" /sys/fs/cgroup/*/"$NETNS"; do
        [ ! -d "$cgroup" ] || printf '%s\n' "$cgroup"
    done
}

# processes: the id of every process in them.
processes() {
    local cgroup
    for cgroup in $(our_cgroups); do
        find "$cgroup" -name cgroup.procs -exec cat {} + 2>/dev/null || true
    done | sort -u
}

# end_processes: until there are none.
end_processes() {
    local end=$((SECONDS + 60)) pid pids
    while pids=$(processes) && [ -n "$pids" ]; do
        [ "$SECONDS" -lt "$end" ] || die "these processes do not end: $(tr '\n' ' ' <<<"$pids")"
        for pid in $pids; do kill -KILL "$pid" 2>/dev/null || true; done
        sleep 0.1
    done
}

# remove_node: links, namespace, cgroups, and the folders that only served as mount points.
remove_node() {
    ip link delete "$LINK" 2>/dev/null || true
    [ ! -e "/run/netns/$NETNS" ] || ip netns delete "$NETNS"
    local end=$((SECONDS + 30)) cgroup
    # The kernel lets go of an ended process's cgroup a moment later.
    for cgroup in $(our_cgroups); do
        until find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null; do
            [ "$SECONDS" -lt "$end" ] || die "the cgroup $cgroup cannot be removed: something is still in it"
            sleep 0.1
        done
    done
    rmdir --ignore-fail-on-non-empty "${REDIRECTED[@]}" 2>/dev/null || true
    rm -rf --one-file-system "${STATE:?}"
    find "$RUN" -mindepth 1 -not -name lock -delete 2>/dev/null || true
}
