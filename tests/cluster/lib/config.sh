# Configuration files of the programs, written to STATE.

write_config() {
    mkdir -p "$STATE"/{etcd,containerd,kubelet,cni/conf,cni/addresses,pods}
    authentication | put "$STATE/authentication.yaml"
    audit_policy | put "$STATE/audit-policy.yaml"
    containerd_config | put "$STATE/containerd.toml"
    pod_network | put "$STATE/cni/conf/10-pods.conflist"
    kubelet_config | put "$STATE/kubelet.yaml"
    names | put "$STATE/Corefile"
}

# put FILE: replaces it at once, and only by something else: the API server watches its files.
put() {
    cat >"$1.new"
    if cmp -s "$1.new" "$1"; then rm "$1.new"; else mv "$1.new" "$1"; fi
}

# What the API server accepts as a bearer token: v1- and v2-shaped tokens of the provider, as AKS does with Entra.
authentication() {
    printf '%s\n' 'apiVersion: apiserver.config.k8s.io/v1' 'kind: AuthenticationConfiguration' 'jwt:'
    local issuer
    for issuer in "$ISSUER_V1" "$ISSUER_V2"; do
        cat <<EOF
- issuer:
    url: $issuer
    certificateAuthority: |
$(sed 's/^/      /' "$PKI/ca.crt")
    audiences: ["$AUDIENCE", "api://$AUDIENCE"]
    audienceMatchPolicy: MatchAny
  claimValidationRules:
  - expression: 'claims.tid == "$TENANT"'
    message: the token is of another tenant
  claimMappings:
    username:
      expression: 'has(claims.upn) ? claims.upn : claims.oid'
    groups:
      expression: 'has(claims.groups) ? claims.groups : []'
EOF
    done
}

# Requests of people only: a test sees what reached the API server.
audit_policy() {
    cat <<'EOF'
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  userGroups: ["system:masters", "system:nodes", "system:serviceaccounts", "system:unauthenticated"]
- level: None
  users: ["system:kube-controller-manager", "system:kube-scheduler", "system:kube-proxy", "system:apiserver"]
- level: Metadata
EOF
}

# restrict_oom_score_adj: without CAP_SYS_RESOURCE no sandbox may lower its score.
containerd_config() {
    cat <<EOF
version = 3
root = "$STATE/containerd/root"
state = "$STATE/containerd/state"
[grpc]
  address = "$RUN/containerd.sock"
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "sluice.test/pause:1"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins.'io.containerd.cri.v1.runtime'.containerd]
    default_runtime_name = "runc"
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
        BinaryName = "$STATE/programs/runc"
        SystemdCgroup = false
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["$STATE/programs"]
    conf_dir = "$STATE/cni/conf"
EOF
}

# One veth pair for each pod, both families, no masquerading: the node routes.
pod_network() {
    cat <<EOF
{
  "cniVersion": "1.0.0",
  "name": "sluice",
  "plugins": [
    {
      "type": "ptp",
      "ipMasq": false,
      "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "10.244.0.0/24"}], [{"subnet": "fd77:244::/64"}]],
        "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
        "dataDir": "$STATE/cni/addresses"
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
EOF
}

# The machine may have cgroup v1, swap and a nearly full disk. Logs do not rotate: tests stream a gibibyte.
kubelet_config() {
    cat <<EOF
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $PKI/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: $PKI/kubelet.crt
tlsPrivateKeyFile: $PKI/kubelet.key
cgroupDriver: cgroupfs
cgroupRoot: /$NETNS
failCgroupV1: false
failSwapOn: false
evictionHard: {memory.available: "100Mi", nodefs.available: "1%", imagefs.available: "1%"}
imageGCHighThresholdPercent: 100
containerLogMaxSize: 4Gi
containerRuntimeEndpoint: unix://$RUN/containerd.sock
podLogsDir: $STATE/pods
clusterDNS: ["$DNS_V4"]
clusterDomain: cluster.local
resolvConf: $STATE/resolv.conf
EOF
}

# The world's names as the node and the pods see them; the node has no way out to ask others.
names() {
    cat <<EOF
.:53 {
    bind $NODE_V4 $NODE_V6
    hosts {
        $NODE_V4 $AKS_NAME
        $NODE_V6 $AKS_NAME
        ttl 30
    }
    errors
}
EOF
}
