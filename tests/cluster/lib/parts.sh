# Starts the programs in their order, and waits for what the next one needs.

start_parts() {
    local programs=$STATE/programs
    start_etcd
    start_names
    start_provider
    await provider 60 provider_answers
    start_apiserver
    start_containerd
    await names 30 name_answers
    await apiserver 240 kubectl get --raw /readyz
    start_controllers
    start_scheduler
    start_proxy
    await containerd 60 inside "$programs/ctr" --address "$RUN/containerd.sock" version
    import_images
    start_kubelet
    await kubelet 120 inside curl -fsS --max-time 5 http://127.0.0.1:10248/healthz
}

start_etcd() {
    start etcd "$programs/etcd" --data-dir "$STATE/etcd" --unsafe-no-fsync \
        --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
        --listen-peer-urls http://127.0.0.1:2380
}

start_names() { start names "$programs/coredns" -conf "$STATE/Corefile"; }

name_answers() { inside busybox nslookup -type=a "$AKS_NAME" "$NODE_V4"; }

start_provider() {
    start provider "$here/provider/run" --host :: --port "$PROVIDER_PORT" --url "$PROVIDER_URL" --tenant "$TENANT" \
        --audience "$AUDIENCE" --cert "$PKI/provider.crt" --key "$PKI/provider.key" --ca "$PKI/ca.crt"
}

provider_answers() { curl -fsS --max-time 5 --cacert "$PKI/ca.crt" "$ISSUER_V2/.well-known/openid-configuration"; }

start_apiserver() {
    start apiserver "$programs/kube-apiserver" --bind-address=:: --secure-port=$API_PORT --advertise-address=$NODE_V4 \
        --etcd-servers=http://127.0.0.1:2379 --service-cluster-ip-range=$SERVICE_V4,$SERVICE_V6 \
        --tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key" --client-ca-file="$PKI/ca.crt" \
        --service-account-key-file="$PKI/service-accounts.key" \
        --service-account-signing-key-file="$PKI/service-accounts.key" \
        --service-account-issuer=https://kubernetes.default.svc \
        --authentication-config="$STATE/authentication.yaml" --authorization-mode=Node,RBAC \
        --enable-admission-plugins=NodeRestriction --allow-privileged=true \
        --kubelet-client-certificate="$PKI/admin.crt" --kubelet-client-key="$PKI/admin.key" \
        --kubelet-certificate-authority="$PKI/ca.crt" --kubelet-preferred-address-types=InternalIP \
        --audit-policy-file="$STATE/audit-policy.yaml" --audit-log-path="$LOGS/audit.log" --audit-log-mode=blocking --audit-log-maxbackup=2
}

# The API server learns the issuers' keys a moment after it is ready.
accepts_tokens() {
    local version
    for version in --v1 --v2; do
        "$STATE/programs/kubectl" --kubeconfig /dev/null --server "https://$NODE_V4:$API_PORT" \
            --certificate-authority "$STATE/ca.crt" --token "$("$here/token" $version --upn up@example.com)" \
            auth whoami || return 1
    done
}

start_controllers() {
    start controllers "$programs/kube-controller-manager" --kubeconfig="$STATE/controllers.kubeconfig" \
        --service-account-private-key-file="$PKI/service-accounts.key" --root-ca-file="$PKI/ca.crt" \
        --use-service-account-credentials --leader-elect=false --allocate-node-cidrs=true \
        --cluster-cidr=$POD_V4,$POD_V6 --service-cluster-ip-range=$SERVICE_V4,$SERVICE_V6 \
        --cluster-signing-cert-file="$PKI/ca.crt" --cluster-signing-key-file="$PKI/ca.key"
}

start_scheduler() {
    start scheduler "$programs/kube-scheduler" --kubeconfig="$STATE/scheduler.kubeconfig" --leader-elect=false
}

start_proxy() {
    start proxy "$programs/kube-proxy" --kubeconfig="$STATE/proxy.kubeconfig" --proxy-mode=nftables \
        --hostname-override=$NODE --cluster-cidr=$POD_V4,$POD_V6 --conntrack-max-per-core=0
}

start_containerd() {
    start containerd env PATH="$programs:$PATH" "$programs/containerd" --config "$STATE/containerd.toml"
}

start_kubelet() {
    start kubelet "$programs/kubelet" --config="$STATE/kubelet.yaml" --kubeconfig="$STATE/kubelet.kubeconfig" \
        --root-dir="$STATE/kubelet" --hostname-override=$NODE --node-ip=$NODE_V4,$NODE_V6
}
