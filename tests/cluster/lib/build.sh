# Builds the programs from the pinned Go modules. Each module's result is kept in
# a folder named after a hash of its files, so a changed pin builds again.

readonly MODULES=(kubernetes etcd containerd runc cni coredns helm programs)

# programs: the folder with every program of this version of the pins.
programs() { printf '%s/programs-%s\n' "$CACHE" "$(hash_of modules lib/build.sh)"; }

build_programs() {
    local all module folder partial
    all=$(programs)
    [ ! -d "$all" ] || return 0
    mkdir -p "$CACHE"
    partial=$(mktemp -d "$CACHE/partial.XXXXXX")
    for module in "${MODULES[@]}"; do
        build_module "$module"
        folder=$(module_folder "$module")
        ln -s "$folder"/* "$partial/"
    done
    chmod 755 "$partial"
    mv -T "$partial" "$all"
}

module_folder() { printf '%s/bin/%s-%s\n' "$CACHE" "$1" "$(hash_of "modules/$1")"; }

build_module() {
    local module=$1 folder partial log=$CACHE/build-$1.log
    folder=$(module_folder "$module")
    [ ! -d "$folder" ] || return 0
    say "building $module from its Go module (log: $log)"
    mkdir -p "$CACHE/bin"
    partial=$(mktemp -d "$CACHE/bin/partial.XXXXXX")
    (
        cd "$here/modules/$module"
        mapfile -t packages < <(packages_of "$module")
        mapfile -t flags < <(flags_of "$module")
        CGO_ENABLED=$(cgo_of "$module") GOFLAGS='-buildvcs=false -mod=readonly' GOWORK=off \
            nice -n 5 go build -p 2 -trimpath "${flags[@]}" -o "$partial/" "${packages[@]}"
    ) >"$log" 2>&1 9>&- || die "$module did not build: see $log"
    chmod 755 "$partial"
    mv -T "$partial" "$folder"
}

# packages_of MODULE: what its tools.go imports, else its own commands.
packages_of() {
    if [ -f tools.go ]; then
        go list -e -tags tools -f '{{join .Imports "\n"}}' .
    else
        echo ./...
    fi
}

# flags_of MODULE: one flag a line.
flags_of() {
    local version
    case $1 in
    kubernetes)
        version=$(go list -m -f '{{.Version}}' k8s.io/kubernetes)
        printf '%s\n' -ldflags "-s -w -X k8s.io/component-base/version.gitVersion=$version -X k8s.io/component-base/version.gitMajor=$(cut -d. -f1 <<<"${version#v}") -X k8s.io/component-base/version.gitMinor=$(cut -d. -f2 <<<"$version")"
        ;;
    runc) printf '%s\n' -tags seccomp -ldflags '-s -w' ;;
    *) printf '%s\n' -ldflags '-s -w' ;;
    esac
}

# cgo_of MODULE: runc enters namespaces with C, the rest is static.
cgo_of() { if [ "$1" = runc ]; then echo 1; else echo 0; fi; }
