# The node's network: a bridge with its addresses, and a link from this machine into it.

make_network() {
    [ -e "/run/netns/$NETNS" ] || ip netns add "$NETNS"
    in_network ip link show node0 >/dev/null 2>&1 || make_bridge
    ip link show "$LINK" >/dev/null 2>&1 || make_link
    in_network nft -f - <<EOF
table inet sluice
delete table inet sluice
table inet sluice {
    # AKS serves its API on 443; the API server here listens on $API_PORT.
    chain arriving {
        type nat hook prerouting priority -110;
        ip daddr $NODE_V4 tcp dport 443 dnat ip to $NODE_V4:$API_PORT
        ip6 daddr $NODE_V6 tcp dport 443 dnat ip6 to [$NODE_V6]:$API_PORT
    }
    chain own {
        type nat hook output priority -110;
        ip daddr $NODE_V4 tcp dport 443 dnat ip to $NODE_V4:$API_PORT
        ip6 daddr $NODE_V6 tcp dport 443 dnat ip6 to [$NODE_V6]:$API_PORT
    }
}
EOF
}

in_network() { nsenter --net="/run/netns/$NETNS" -- "$@"; }

make_bridge() {
    in_network sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.disable_ipv6=0 net.ipv6.conf.default.disable_ipv6=0 \
        net.ipv6.conf.all.forwarding=1 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.all.accept_dad=0
    in_network ip link set lo up
    in_network ip link add node0 type bridge forward_delay 0
    in_network ip addr add "$NODE_V4/24" dev node0
    in_network ip addr add "$NODE_V6/64" dev node0 nodad
    in_network ip link set node0 up
    # There is no way out of the node; a default route exists because programs look for one.
    in_network ip route add default dev node0 src "$NODE_V4"
    in_network ip -6 route add default dev node0 src "$NODE_V6"
}

make_link() {
    ip link add "$LINK" type veth peer name host0 netns "$NETNS"
    sysctl -qw "net.ipv6.conf.$LINK.disable_ipv6=0" "net.ipv6.conf.$LINK.accept_dad=0"
    in_network ip link set host0 master node0 up
    ip addr add "$HOST_V4/24" dev "$LINK"
    ip addr add "$HOST_V6/64" dev "$LINK" nodad
    ip link set "$LINK" up
    ip route add "$POD_V4" via "$NODE_V4" dev "$LINK"
    ip route add "$SERVICE_V4" via "$NODE_V4" dev "$LINK"
    ip -6 route add "$POD_V6" via "$NODE_V6" dev "$LINK"
    ip -6 route add "$SERVICE_V6" via "$NODE_V6" dev "$LINK"
}
