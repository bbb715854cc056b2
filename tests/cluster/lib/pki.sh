# The private CA of the cluster and the certificates under it.

make_pki() {
    [ ! -f "$PKI/complete" ] || return 0
    mkdir -p "$PKI"
    chmod 700 "$PKI"
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj "/CN=Sluice test cluster CA" \
        -addext "keyUsage=critical,keyCertSign,cRLSign" -keyout "$PKI/ca.key" -out "$PKI/ca.crt" 2>"$LOGS/pki.log" ||
        fail pki "openssl could not make the CA"
    certificate apiserver "/CN=kube-apiserver" "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,DNS:localhost,DNS:$AKS_NAME,IP:$NODE_V4,IP:$NODE_V6,IP:127.0.0.1,IP:::1,IP:10.96.0.1,IP:fd77:96::1"
    certificate provider "/CN=provider" "DNS:localhost,IP:$NODE_V4,IP:$NODE_V6,IP:127.0.0.1,IP:::1"
    certificate kubelet "/O=system:nodes/CN=system:node:$NODE" "DNS:$NODE,IP:$NODE_V4,IP:$NODE_V6"
    certificate admin "/O=system:masters/CN=admin" "DNS:admin"
    certificate controllers "/CN=system:kube-controller-manager" "DNS:localhost"
    certificate scheduler "/CN=system:kube-scheduler" "DNS:localhost"
    certificate proxy "/CN=system:kube-proxy" "DNS:localhost"
    openssl genrsa -out "$PKI/service-accounts.key" 2048 2>>"$LOGS/pki.log"
    local user
    for user in admin controllers scheduler kubelet proxy; do
        kubeconfig "$user" >"$STATE/$user.kubeconfig"
        chmod 600 "$STATE/$user.kubeconfig"
    done
    install -m 644 "$PKI/ca.crt" "$STATE/ca.crt"
    touch "$PKI/complete"
}

# certificate NAME SUBJECT ALTERNATIVE-NAMES: NAME.crt and NAME.key, for servers and clients.
certificate() {
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$2" -keyout "$PKI/$1.key" 2>>"$LOGS/pki.log" |
        openssl x509 -req -CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" -CAcreateserial -days 3650 -out "$PKI/$1.crt" \
            -extfile <(printf '%s\n' "subjectAltName=$3" "extendedKeyUsage=serverAuth,clientAuth" \
                "basicConstraints=critical,CA:FALSE" "keyUsage=critical,digitalSignature" \
                "authorityKeyIdentifier=keyid" "subjectKeyIdentifier=hash") 2>>"$LOGS/pki.log" ||
        fail pki "openssl could not make the certificate of $1"
}

# kubeconfig USER: embeds the certificates, so that the file can be copied.
kubeconfig() {
    cat <<EOF
apiVersion: v1
kind: Config
clusters:
- name: sluice
  cluster:
    server: https://$NODE_V4:$API_PORT
    certificate-authority-data: $(base64 -w0 "$PKI/ca.crt")
users:
- name: $1
  user:
    client-certificate-data: $(base64 -w0 "$PKI/$1.crt")
    client-key-data: $(base64 -w0 "$PKI/$1.key")
contexts:
- name: $1
  context: {cluster: sluice, user: $1}
current-context: $1
EOF
}
