# The images of the cluster's own pods, made of programs that are here anyway.

import_images() {
    local applet links=()
    [ ! -f "$STATE/images" ] || return 0
    say "importing images"
    for applet in $(/bin/busybox --list); do
        [ "$applet" = busybox ] || links+=("busybox->/bin/$applet")
    done
    "$here/image" sluice.test/pause:1 --entrypoint /pause "$STATE/programs/pause=/pause"
    "$here/image" sluice.test/busybox:1 /bin/busybox=/bin/busybox "${links[@]}"
    "$here/image" sluice.test/kubectl:1 "$STATE/programs/kubectl=/bin/kubectl" /bin/busybox=/bin/busybox "${links[@]}"
    "$here/image" sluice.test/coredns:1 --entrypoint /coredns "$STATE/programs/coredns=/coredns"
    touch "$STATE/images"
}
