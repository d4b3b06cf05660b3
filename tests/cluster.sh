#!/bin/sh
# Three brokers that know each other, with the clients of Mosquitto and with loadgen: does what
# one node takes reach the others, also when one is killed, stopped or started again?
#
#   sh tests/cluster.sh
#
# Each node has one shard and an address of its own, 127.0.0.1 to 127.0.0.3; no root is needed.
# Prints a line for each fact and fails if one is none. SHARDMQ_TEST_BROKER and LOADGEN name
# other programs than those of target/debug. KEEP=1 leaves the folder with the logs.
set -u
cd "$(dirname "$0")/.."
. tests/common/facts.sh

need mosquitto_pub mosquitto_sub
loadgen=$(program "${LOADGEN:-target/debug/loadgen}" 'cargo build -p loadgen') || exit 2

port=$((20000 + $$ % 10000 * 2))
links=$((port + 1))
subnet=127.0.0
begin

echo "three nodes at port $port, links at port $links, $("$broker" --version 2>/dev/null)"
for node_number in 1 2 3; do
    start $node_number
done
for node_number in 1 2 3; do
    within 20 has 2 'is up' "$folder/$node_number.log"
    fact $? "node $node_number sees the other two"
done

# ---- Every QoS, from every node to every node.
clients=
for to in 1 2 3; do
    subscribe $to "all-$to" -q 2 -t 'probe/#' -t 'all/#'
    clients="$clients $client"
done
for to in 1 2 3; do
    for from in 1 2 3; do
        within 20 probed $from "all-$to" || fact 1 "node $from has no route to node $to"
    done
done
: >"$folder/sent"
for from in 1 2 3; do
    for qos in 0 1 2; do
        publish $from "all/$from/$qos" $qos "of $from" && echo "all/$from/$qos $qos of $from" \
            >>"$folder/sent"
    done
done
for to in 1 2 3; do
    within 10 has 9 '^all/' "$folder/all-$to"
    lacks "$folder/all-$to" "$folder/sent" && [ "$(grep -c '^all/' "$folder/all-$to")" = 9 ]
    fact $? "node $to gets each QoS from each node, once"
done
for client in $clients; do stop_client "$client"; done

# ---- Retained messages.
for from in 1 2 3; do
    publish $from "kept/$from" 1 "of $from" -r
done
kept() {
    timeout 5 mosquitto_sub -h "127.0.0.$1" -p "$port" -t 'kept/#' --retained-only -C "$2" -W 2 \
        -F '%t %p' 2>/dev/null | sort >"$folder/kept"
    [ "$(cat "$folder/kept")" = "$(for one in $3; do echo "kept/$one of $one"; done)" ]
}
for to in 1 2 3; do
    within 10 kept $to 3 '1 2 3'
    fact $? "a new subscriber on node $to gets what each node retains"
done
mosquitto_pub -h 127.0.0.2 -p "$port" -t kept/1 -q 1 -r -n
for to in 1 2 3; do
    within 10 kept $to 3 '2 3'
    fact $? "what node 2 deletes is not retained on node $to"
done

# ---- A client identifier on two nodes.
subscribe 1 first -V mqttv5 -i twice -t twice -d
first=$client
within 10 grep -q SUBACK "$folder/first"
subscribe 2 second -V mqttv5 -i twice -t twice -d
second=$client
within 10 grep -q 'Received DISCONNECT (142)' "$folder/first"
fact $? 'a client that connects to node 2 with the identifier of one on node 1 ends that with 0x8E'
stop_client "$first"
stop_client "$second"

# ---- SIGSTOP for 2 s. Nothing that is acknowledged may be lost, so loadgen must find all.
for qos in 1 2; do
    "$loadgen" pairs --one-way --pairs 5 --qos $qos --rate 500 --duration 7s --threads 1 \
        --hosts "127.0.0.1:$port,127.0.0.2:$port" >"$folder/stop-$qos" 2>&1 &
    load=$!
    started="$started $load"
    sleep 4
    signal 2 STOP
    sleep 2
    signal 2 CONT
    wait $load
    fact $? "node 2 stands still for 2 s: QoS $qos from node 1 comes, once and in order"
    grep -E 'faults|latency|problem' "$folder/stop-$qos"
    grep -q '^  crossed .* 100.0 %' "$folder/stop-$qos" || fact 1 'all of it crosses'
done

# ---- kill -9 and a start at once, with a subscriber whose session is kept.
subscribe 2 session -q 1 -c -i session -t 'probe/#' -t 'stay/#'
session=$client
within 20 probed 1 session || fact 1 'node 1 has no route to the kept session'
: >"$folder/stayed"
for number in $(seq 100); do
    publish 1 "stay/$number" 1 x && echo "stay/$number 1 x" >>"$folder/stayed"
    sleep 0.03
done &
stream=$!
started="$started $stream"
within 10 has 20 '^stay/' "$folder/stayed"
signal 2 KILL
start 2
wait $stream
within 10 lacks "$folder/session" "$folder/stayed" >/dev/null
lacks "$folder/session" "$folder/stayed"
fact $? "node 2 is killed and started again: the session kept there gets all \
$(wc -l <"$folder/stayed") messages that node 1 has acknowledged"
stop_client "$session"
mosquitto_sub -h 127.0.0.2 -p "$port" -i session -t stay -E

# ---- kill -9.
subscribe 2 living -q 1 -t 'probe/#' -t 'flow/#'
living=$client
subscribe 3 dying -q 1 -t 'probe/#' -t 'flow/#'
dying=$client
for to in living dying; do
    within 20 probed 1 $to || fact 1 "node 1 has no route to the $to"
done
"$loadgen" pairs --pairs 6 --qos 1 --rate 600 --duration 12s --threads 1 --json \
    --hosts "127.0.0.1:$port,127.0.0.2:$port" >"$folder/kill" 2>&1 &
load=$!
started="$started $load"
: >"$folder/sent"
longest=0 number=0
downs=$(grep -c 'is down' "$folder/1.log")
until_ms=$(($(now_ms) + 12000))
while [ "$(now_ms)" -lt "$until_ms" ]; do
    number=$((number + 1))
    [ $number != 30 ] || signal 3 KILL
    before=$(now_ms)
    publish 1 "flow/$number" 1 x && echo "flow/$number 1 x" >>"$folder/sent"
    took=$(($(now_ms) - before))
    [ $took -le $longest ] || longest=$took
    sleep 0.03
done
wait $load
fact $? "node 3 is killed: loadgen between nodes 1 and 2 loses nothing"
grep -o '"problems":\[[^]]*\]' "$folder/kill"
slowest=$(grep -o '"latency_us":{[^}]*}' "$folder/kill" | grep -o '"max":[0-9]*' | cut -d: -f2)
[ "${slowest:-5000000}" -lt 5000000 ]
fact $? "node 3 is killed: the slowest message of loadgen took $((${slowest:-0} / 1000)) ms, below 5 s"
within 5 has "$(wc -l <"$folder/sent")" '^flow/' "$folder/living"
lacks "$folder/living" "$folder/sent"
fact $? "node 3 is killed: all $(wc -l <"$folder/sent") acknowledged messages came to node 2"
[ $longest -lt 5000 ]
fact $? "node 3 is killed: the longest publish of one with a subscriber there took $longest ms, below 5 s"
[ "$(grep -c 'is down' "$folder/1.log")" -gt "$downs" ]
fact $? 'node 3 is killed: node 1 says so'
stop_client "$dying"

# ---- It starts again.
start 3
subscribe 3 again -q 1 -t 'probe/#' -t 'again/#'
again=$client
for from in 1 2; do
    within 20 probed $from again && publish $from "again/$from" 1 x &&
        within 10 grep -q "^again/$from 1 x" "$folder/again"
    fact $? "node 3 is back: it gets what node $from publishes"
done
within 20 probed 3 living && publish 3 flow/back 1 x &&
    within 10 grep -q '^flow/back 1 x' "$folder/living"
fact $? 'node 3 is back: a subscriber that stayed on node 2 gets what it publishes'
within 10 kept 3 3 '2 3'
fact $? 'node 3 is back: it has what is retained'
stop_client "$again"
stop_client "$living"

stop 1 2 3
no_errors 1 2 3
exit $failed
