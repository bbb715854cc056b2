# Debian packages and the tools that must be there already.

readonly PACKAGES=(busybox-static ca-certificates conntrack curl gcc iproute2 iptables jq libc6-dev
    libseccomp-dev nftables openssl pkg-config procps util-linux)

install_packages() {
    local missing=() package tool
    for package in "${PACKAGES[@]}"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    if [ ${#missing[@]} -gt 0 ]; then
        mkdir -p "$CACHE"
        say "installing ${missing[*]}"
        (apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${missing[@]}") \
            >"$CACHE/apt.log" 2>&1 9>&- || die "apt-get could not install ${missing[*]}: see $CACHE/apt.log"
    fi
    for tool in go node npm; do
        command -v "$tool" >/dev/null || die "$tool is not on the PATH; install Go 1.26 and Node 20.19 or newer first"
    done
}
