#!/bin/sh
# Three brokers in network namespaces whose links are cut, in one or both directions: what was
# acknowledged comes, a node without a majority acknowledges nothing, and it heals by itself.
#
#   sh tests/partition.sh
#
# Needs root (or a user namespace in which it is), ip and Mosquitto's clients. Node N is 10.77.0.N
# on a bridge that only this script sees. A link is cut silently: packets go to a hardware address
# that nobody has. Clients connect from outside and are never cut off.
# Prints a line for each fact and fails if one is none. SHARDMQ_TEST_BROKER names another program
# than target/debug/shardmq. KEEP=1 leaves the folder with the logs.
set -u
if [ "${OWN_NETWORK:-}" != own ]; then
    unshare -n -m true 2>/dev/null || { echo 'skipped: no right to make network namespaces'; exit 0; }
    OWN_NETWORK=own exec unshare -n -m sh "$0" "$@"
fi
cd "$(dirname "$0")/.."
. tests/common/facts.sh
. tests/common/network.sh

need ip mosquitto_pub mosquitto_sub

subnet=10.77.0 port=1883 links=4370 enter='ip netns exec n'
cookie='node.cookie=a cookie for tests of partitions'
begin

network 1 2 3

# stream NODE FILE: publishes one number after the other with QoS 1 to flow/NODE, and writes down
# what was acknowledged, until $folder/stop is there. The process is $client.
stream() {
    (
        number=0
        while [ ! -e "$folder/stop" ]; do
            number=$((number + 1))
            if publish "$1" "flow/$1" 1 "$number" 2>/dev/null; then
                echo "flow/$1 1 $number" >>"$folder/$2"
            fi
            sleep 0.02
        done
    ) &
    client=$!
    started="$started $client"
}

# grows FILE COUNT SECONDS: so many more lines come.
grows() {
    before=$(wc -l <"$folder/$1")
    within "$3" has $((before + $2)) . "$folder/$1"
}

# order FILE TOPIC: the numbers of a topic never go back.
order() {
    awk -v topic="$2" '$1 == topic { if ($3 + 0 < last) exit 1; last = $3 + 0 }' "$folder/$1"
}

echo "three nodes at $subnet.1 to $subnet.3, $("$broker" --version 2>/dev/null)"
for node_number in 1 2 3; do
    start $node_number --set "$cookie" --set allow_anonymous=true
done
for node_number in 1 2 3; do
    within 30 has 2 'is up' "$folder/$node_number.log"
    fact $? "node $node_number sees the other two"
    subscribe $node_number "on-$node_number" -q 1 -c -i "on-$node_number" -k 600 \
        -t 'probe/#' -t 'flow/#' -t steady
done
for to in 1 2 3; do
    for from in 1 2 3; do
        within 30 probed $from "on-$to" || fact 1 "node $from has no route to node $to"
    done
done
for node_number in 1 2 3; do
    : >"$folder/sent-$node_number"
    stream $node_number sent-$node_number
done
for node_number in 1 2 3; do
    grows sent-$node_number 5 20
    fact $? "what is published on node $node_number is acknowledged"
done

# ---- Node 3 alone.
between cut 1 3
between cut 2 3
begun=$(now_ms)
within 10 has 1 'n3@.* is down' "$folder/1.log" && within 10 has 1 'n3@.* is down' "$folder/2.log"
fact $? "node 3 is cut off: the others have given it up after $(($(now_ms) - begun)) ms"
has 1 'acknowledges no QoS 1 and 2' "$folder/3.log"
fact $? 'node 3 knew before that it may not acknowledge'
alone=$(wc -l <"$folder/sent-3")
for node_number in 1 2; do
    grows sent-$node_number 20 20
    fact $? "node 3 is cut off: node $node_number goes on"
done
[ "$(wc -l <"$folder/sent-3")" = "$alone" ]
fact $? 'node 3 is cut off: it has acknowledged nothing since'
for to in 1 2; do
    for from in 1 2; do
        cp "$folder/sent-$from" "$folder/expected"
        within 10 lacks "$folder/on-$to" "$folder/expected" >/dev/null
        lacks "$folder/on-$to" "$folder/expected"
        fact $? "node 3 is cut off: what node $from acknowledges reaches node $to"
    done
done

# ---- It heals.
between heal 1 3
between heal 2 3
begun=$(now_ms)
grows sent-3 5 30
fact $? "healed: node 3 acknowledges again after $(($(now_ms) - begun)) ms"
has 1 'it goes on as incarnation' "$folder/3.log"
fact $? 'healed: node 3 is a new incarnation of itself'
for to in 1 2 3; do
    for from in 1 2 3; do
        before=$(grep -c "^flow/$from " "$folder/on-$to")
        within 20 has $((before + 5)) "^flow/$from " "$folder/on-$to"
        fact $? "healed: what is published on node $from reaches node $to"
    done
done
! grep -h . "$folder"/on-?.errors
fact $? 'healed: no subscriber was disconnected'

# ---- One direction of one link: the two talk over node 2.
while [ ! -e "$folder/stop" ]; do
    echo "$(now_ms)"
    sleep 0.1
done | mosquitto_pub -h $subnet.2 -p $port -i steady -t steady -q 1 -l &
started="$started $!"
within 20 has 5 '^steady ' "$folder/on-2"
fact $? 'a client stays connected to node 2'
downs=$(cat "$folder"/?.log | grep -c 'is down')
cut 3 1
for node_number in 1 2 3; do
    grows sent-$node_number 20 30
    fact $? "3 -> 1 is cut: node $node_number lets clients in and acknowledges"
done
within 20 has 1 'n3@.* goes over node n2@' "$folder/1.log"
fact $? '3 -> 1 is cut: the link between nodes 1 and 3 goes over node 2'
sleep 6
for to in 1 2 3; do
    before=$(grep -c '^steady ' "$folder/on-$to")
    within 10 has $((before + 10)) '^steady ' "$folder/on-$to"
    fact $? "3 -> 1 is cut: what it publishes reaches node $to"
done
[ "$(cat "$folder"/?.log | grep -c 'is down')" = "$downs" ]
fact $? '3 -> 1 is cut: nobody was given up'
heal 3 1
for node_number in 1 2 3; do
    grows sent-$node_number 5 30
    fact $? "3 -> 1 is there again: node $node_number acknowledges"
done

# ---- Each alone.
fenced='acknowledges no QoS 1 and 2'
for node_number in 1 2 3; do
    eval "fences_$node_number=\$(grep -c '$fenced' '$folder/$node_number.log')"
done
between cut 1 2
between cut 1 3
between cut 2 3
for node_number in 1 2 3; do
    eval "count=\$fences_$node_number"
    within 10 has $((count + 1)) "$fenced" "$folder/$node_number.log"
    fact $? "all links are cut: node $node_number acknowledges nothing"
done
between heal 1 2
between heal 1 3
between heal 2 3
for node_number in 1 2 3; do
    grows sent-$node_number 5 30
    fact $? "all links are there again: node $node_number acknowledges"
done

# ---- What came of it all.
touch "$folder/stop"
sleep 3
for to in 1 2; do
    for from in 1 2; do
        within 20 lacks "$folder/on-$to" "$folder/sent-$from" >/dev/null
        lacks "$folder/on-$to" "$folder/sent-$from"
        fact $? "all $(wc -l <"$folder/sent-$from") that node $from acknowledged came to node $to"
    done
    within 20 lacks "$folder/on-$to" "$folder/sent-3" >/dev/null
    lacks "$folder/on-$to" "$folder/sent-3"
    fact $? "all $(wc -l <"$folder/sent-3") that node 3 acknowledged came to node $to"
done
for to in 1 2 3; do
    for from in 1 2 3; do
        order "on-$to" "flow/$from"
        fact $? "what node $from published came to node $to in order"
    done
done
stop 1 2 3
no_errors 1 2 3
exit $failed
