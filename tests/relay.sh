#!/bin/sh
# Three cores and two replicants in network namespaces, of which some see each other only over
# others: one link is cut in both directions and in one, and then all are cut but those of a ring.
# What is published goes on in order, once, new clients get in on all nodes, nobody is given up, and
# links are direct again when they can be.
#
#   sh tests/relay.sh
#
# Needs root (or a user namespace in which it is), ip and Mosquitto's clients. Prints a line for each
# fact, with the time that it took, and fails if one is none. SHARDMQ_TEST_BROKER names another
# program than target/debug/shardmq. KEEP=1 leaves the folder with the logs. POLICY=serve_local tries
# the other policy.
set -u
if [ "${OWN_NETWORK:-}" != own ]; then
    unshare -n -m true 2>/dev/null || { echo 'skipped: no right to make network namespaces'; exit 0; }
    OWN_NETWORK=own exec unshare -n -m sh "$0" "$@"
fi
cd "$(dirname "$0")/.."
. tests/common/facts.sh
. tests/common/network.sh

need ip mosquitto_pub mosquitto_sub

subnet=10.78.0 port=1883 links=4370 enter='ip netns exec n'
all='1 2 3 4 5'
begin
# shellcheck disable=SC2086 # several words
network $all

# flow NODE QOS: publishes numbers to flow/NODE/QOS over one connection, each with the time, until
# $folder/stop is there.
flow() {
    number=0
    while [ ! -e "$folder/stop" ]; do
        number=$((number + 1))
        echo "$number $(now_ms)"
        sleep 0.05
    done | mosquitto_pub -h "$subnet.$1" -p $port -i "flow-$1-$2" -t "flow/$1/$2" -q "$2" -l \
        2>"$folder/flow-$1-$2.errors" &
    started="$started $!"
}

# lines FILE: what has come, as: topic, number, time it was sent, time it came (ms).
lines() {
    awk '$2 ~ /^flow/ { printf "%s %d %s %.0f\n", $2, $3, $4, $1 * 1000 }' "$folder/$1"
}

# flows TO FROM SINCE: something that was sent after that time has come.
flows() {
    for qos in 1 2; do
        lines "on-$1" | awk -v topic="flow/$2/$qos" -v since="$3" \
            '$1 == topic && $3 > since { found = 1; exit } END { exit !found }' || return 1
    done
}

# first TO FROM SINCE: how long after that time the first message came that was sent later.
first() {
    lines "on-$1" | awk -v topic="flow/$2/1" -v since="$3" \
        '$1 == topic && $3 > since { print $4 - since; exit }'
}

# newcomers TEXT: clients that nobody knows connect to every node at once, more than once.
newcomers() {
    rm -f "$folder"/took-*
    pids=
    for node_number in $all; do
        for client in 1 2 3 4; do
            (
                name=new-$node_number-$client-$(now_ms)
                begun=$(now_ms)
                timeout 20 mosquitto_pub -h "$subnet.$node_number" -p $port -i "$name" -t new \
                    -m x -q 1 2>>"$folder/newcomers.errors" &&
                    echo $(($(now_ms) - begun)) >"$folder/took-$node_number-$client"
            ) &
            pids="$pids $!"
        done
    done
    # shellcheck disable=SC2086 # several words
    wait $pids
    took=$(cat "$folder"/took-* 2>/dev/null | sort -n | tail -n 1)
    [ "$(cat "$folder"/took-* 2>/dev/null | wc -l)" = 20 ]
    fact $? "$1: new clients get in on all nodes, the last one after ${took:-?} ms"
}

# counts PATTERN: how many lines of each log match.
counts() {
    for node_number in $all; do
        grep -c -e "$1" "$folder/$node_number.log"
    done
}

# over A B: node A says that its link with node B is relayed.
over() {
    ctl "$1" cluster status 2>/dev/null | grep -Eq "^n$1@[^ ]+ +n$2@[^ ]+ +alive +over n[1-5]@"
}

direct() {
    ctl "$1" cluster status 2>/dev/null | grep -Eq "^n$1@[^ ]+ +n$2@[^ ]+ +alive +direct"
}

ctl() {
    number=$1
    shift
    ip netns exec "n$number" "$broker" ctl "$@" --data-dir "$folder/$number/data"
}

# in_order TO: every number of every flow came once, one after the other.
in_order() {
    lines "on-$1" | awk '{ if ($2 != last[$1] + 1) { print; bad = 1 } last[$1] = $2 }
        END { exit bad || length(last) != 10 }'
}

# after_cut TEXT PAIRS: what holds while these pairs (A-B) have no direct link. $cut_ms is when they
# were cut.
after_cut() {
    what=$1
    newcomers "$what, at once"
    for pair in $2; do
        for way in "${pair%-*} ${pair#*-}" "${pair#*-} ${pair%-*}"; do
            from=${way% *} to=${way#* }
            within 30 flows "$to" "$from" "$cut_ms"
            fact $? "$what: what node $from publishes reaches node $to after $(first "$to" "$from" \
                "$cut_ms") ms"
        done
        within 20 over "${pair%-*}" "${pair#*-}"
        fact $? "$what: the status says over whom ${pair%-*} and ${pair#*-} are linked"
    done
    # Long after a lease would have run out.
    sleep 6
    newcomers "$what for long"
    later_ms=$(now_ms)
    for pair in $2; do
        within 30 flows "${pair#*-}" "${pair%-*}" "$later_ms" &&
            within 30 flows "${pair%-*}" "${pair#*-}" "$later_ms"
        fact $? "$what for long: messages between ${pair%-*} and ${pair#*-} go on"
    done
    [ "$(counts 'is down')" = "$downs" ]
    fact $? "$what: nobody is given up"
    for node_number in $all; do
        grep lease "$folder/$node_number.log" | tail -n 1 | grep -q 'has a lease'
        fact $? "$what: node $node_number has its lease"
    done
}

# after_heal TEXT PAIRS: $healed_ms is when it was.
after_heal() {
    for pair in $2; do
        within 30 direct "${pair%-*}" "${pair#*-}" && within 30 direct "${pair#*-}" "${pair%-*}"
        fact $? "$1: ${pair%-*} and ${pair#*-} are linked directly again after \
$(($(now_ms) - healed_ms)) ms"
    done
    newcomers "$1"
}

echo "five nodes at $subnet.1 to $subnet.5, $("$broker" --version 2>/dev/null)"
for node_number in $all; do
    role=core
    [ "$node_number" -le 3 ] || role=replicant
    start "$node_number" --set 'node.cookie=a cookie for tests of relays' --set allow_anonymous=true \
        --set node.db_role=$role --set "cluster.partition_policy=${POLICY:-fence}"
done
for node_number in $all; do
    within 60 has 4 'is up' "$folder/$node_number.log"
    fact $? "node $node_number sees the other four"
done
for node_number in $all; do
    subscribe "$node_number" "on-$node_number" -i "on-$node_number" -q 2 -t 'flow/#' -t 'probe/#' \
        -F '%U %t %p'
done
# probes TO FROM: a message crosses.
probes() {
    publish "$2" "probe/$2" 0 x
    grep -q " probe/$2 " "$folder/on-$1"
}
for to in $all; do
    for from in $all; do
        within 30 probes "$to" "$from" || fact 1 "node $from has no route to node $to"
    done
done
for node_number in $all; do
    flow "$node_number" 1
    flow "$node_number" 2
done
begun_ms=$(now_ms)
for to in $all; do
    for from in $all; do
        within 30 flows "$to" "$from" "$begun_ms" || fact 1 "node $to has nothing of node $from"
    done
done
newcomers 'all links are there'
downs=$(counts 'is down')

for directions in both 1-2 2-1; do
    cut_ms=$(now_ms)
    case $directions in
        both) between cut 1 2 ;;
        1-2) cut 1 2 ;;
        2-1) cut 2 1 ;;
    esac
    after_cut "cut 1-2 ($directions)" '1-2'
    healed_ms=$(now_ms)
    case $directions in
        both) between heal 1 2 ;;
        1-2) heal 1 2 ;;
        2-1) heal 2 1 ;;
    esac
    after_heal "healed ($directions)" '1-2'
done

# 1-2-3-4-5-1
pairs='1-3 1-4 2-4 2-5 3-5'
cut_ms=$(now_ms)
for pair in $pairs; do
    between cut "${pair%-*}" "${pair#*-}"
done
after_cut 'ring' "$pairs"
healed_ms=$(now_ms)
for pair in $pairs; do
    between heal "${pair%-*}" "${pair#*-}"
done
after_heal 'healed ring' "$pairs"

# ---- What came of it all.
touch "$folder/stop"
sleep 3
for node_number in $all; do
    in_order "$node_number"
    fact $? "all $(wc -l <"$folder/on-$node_number") messages came to node $node_number once, in order"
done
! grep -h . "$folder"/on-?.errors "$folder"/flow-*.errors
fact $? 'nobody was disconnected'
grep -h 'goes over\|direct again' "$folder/1.log" | head -n 3
# shellcheck disable=SC2086 # several words
stop $all
# shellcheck disable=SC2086 # several words
no_errors $all
exit $failed
