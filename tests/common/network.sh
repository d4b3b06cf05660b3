# A network of namespaces for scripts about several brokers whose links are cut. To be read after
# facts.sh, with subnet set. Node N is $subnet.N in the namespace nN, on a bridge that only the
# script sees. A link is cut silently: packets go to a hardware address that nobody has. Clients
# connect from outside and are never cut off.

# network NODE…
network() {
    mkdir -p /run/netns
    mount -t tmpfs none /run/netns || exit 2
    ip link set lo up
    ip link add name switch type bridge
    ip addr add "$subnet.254/24" dev switch
    ip link set switch up
    for node_number in "$@"; do
        ip netns add "n$node_number"
        ip link add "v$node_number" type veth peer name eth0 netns "n$node_number"
        ip link set "v$node_number" master switch up
        ip -n "n$node_number" link set lo up
        ip -n "n$node_number" addr add "$subnet.$node_number/24" dev eth0
        ip -n "n$node_number" link set eth0 up
    done
}

# cut FROM TO: nothing that FROM sends reaches TO.
cut() {
    ip -n "n$1" neigh replace "$subnet.$2" lladdr 02:00:00:00:00:99 dev eth0 nud permanent
}

# heal FROM TO
heal() {
    ip -n "n$1" neigh del "$subnet.$2" dev eth0
}

# between COMMAND A B: in both directions.
between() {
    "$1" "$2" "$3"
    "$1" "$3" "$2"
}
