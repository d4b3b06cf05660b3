#!/bin/sh
# Three cores and two replicants, with the clients of Mosquitto: nodes are killed, the leader among
# them, join, leave, lose their folders, and are all stopped. What was acknowledged comes to every
# subscriber that stayed.
#
#   sh tests/members.sh
#
# Each node has one shard and an address of its own, 127.0.0.1 to 127.0.0.6; no root is needed.
# Prints a line for each fact and fails if one is none. SHARDMQ_TEST_BROKER names another program
# than target/debug/shardmq. KEEP=1 leaves the folder with the logs.
set -u
cd "$(dirname "$0")/.."
. tests/common/facts.sh

need mosquitto_pub mosquitto_sub

port=$((20000 + $$ % 10000 * 2))
links=$((port + 1))
subnet=127.0.0
begin

# ctl NODE WORDS…
ctl() {
    number=$1
    shift
    "$broker" ctl "$@" --data-dir "$folder/$number/data"
}

# sees NODE OTHER ROLE: the node says that the other one runs, as what.
sees() {
    ctl "$1" cluster status 2>/dev/null | grep -Eq "^n$2@[^ ]+ .*$3 +running"
}

# all_see NODES: each of them sees all others, 1 to 3 as cores.
all_see() {
    for one in $1; do
        for other in $1; do
            case $other in
                4 | 5) role=replicant ;;
                *) role=core ;;
            esac
            sees "$one" "$other" $role || return 1
        done
    done
}

# leader NODE: prints the number of the node that leads, as this one knows.
leader() {
    ctl "$1" cluster status 2>/dev/null | sed -n 's/^term .* led by n\([0-9]*\)@.*/\1/p'
}

# leads NODE: somebody else than $gone leads.
leads() {
    found=$(leader "$1")
    [ -n "$found" ] && [ "$found" != "$gone" ]
}

# reaches TEXT FROM TO…: what is published on a node reaches subscribers on others.
reaches() {
    what=$1 source=$2
    shift 2
    publish "$source" "flow/$what" 1 "$source" || return 1
    for to in "$@"; do
        within 10 grep -q "^flow/$what 1 $source\$" "$folder/on-$to" || return 1
    done
}

# listen NODE: a subscriber there, whose messages are in on-NODE.
listen() {
    subscribe "$1" "on-$1" -q 1 -c -i "on-$1" -k 600 -t 'probe/#' -t 'flow/#'
    within 30 probed "$1" "on-$1"
}

role() {
    case $1 in
        4 | 5) echo replicant ;;
        *) echo core ;;
    esac
}

run() {
    start "$1" --set "node.db_role=$(role "$1")"
}

echo "three cores and two replicants at port $port, $("$broker" --version 2>/dev/null)"
for node_number in 4 1 5 3 2; do
    run $node_number
done
within 60 all_see '1 2 3 4 5'
fact $? 'all five become one cluster, in whatever order they start'
for node_number in 1 2 3 4 5; do
    listen $node_number
    fact $? "a client subscribes on node $node_number"
done
for node_number in 1 2 3 4 5; do
    reaches "first-$node_number" $node_number 1 2 3 4 5
    fact $? "what is published on node $node_number reaches all"
done

# ---- The leader dies, with its folder.
gone=$(leader 4)
left=$(echo 1 2 3 4 5 | tr -d "$gone")
signal "$gone" KILL
begun=$(now_ms)
within 30 leads 4
fact $? "node $gone, the leader, is killed: another leads after $(($(now_ms) - begun)) ms"
for node_number in $left; do
    # shellcheck disable=SC2086 # several words
    reaches "second-$node_number" "$node_number" $left
    fact $? "the leader is gone: what is published on node $node_number reaches those that are left"
done
rm -rf "${folder:?}/$gone"
run "$gone"
within 60 all_see '1 2 3 4 5'
fact $? "node $gone comes back without its folder and takes its place"
mv "$folder/on-$gone" "$folder/on-$gone.before"
listen "$gone"
reaches third 5 1 2 3 4 5
fact $? 'what is published on a replicant reaches all again'

# ---- A replicant dies and comes back.
signal 5 KILL
reaches fourth 4 1 2 3 4
fact $? 'a replicant is killed: the rest goes on'
run 5
within 60 all_see '1 2 3 4 5'
fact $? 'it comes back'

# ---- Another core joins by a command, and leaves.
start 6 --set cluster.discovery_strategy=manual --set "cluster.bind=$subnet.6:$links"
listen 6
fact $? 'a node of its own has a client'
ctl 6 cluster join "n2@$subnet.2:$links" >"$folder/said" 2>&1
fact $? "it joins: $(cat "$folder/said")"
within 60 all_see '1 2 3 4 5 6'
fact $? 'all six see each other'
reaches fifth 4 1 2 3 4 6 && reaches sixth 6 1 2 3 4 6
fact $? 'its client, which stayed connected, gets and gives messages'
! grep -q . "$folder/on-6.errors"
fact $? 'which was never disconnected'
ctl 6 cluster leave >"$folder/said" 2>&1
fact $? "it leaves: $(cat "$folder/said")"
has 1 'clients were sent to other nodes, 0 are left' "$folder/6.log"
fact $? 'its client was sent to the others'
is_back() {
    publish 6 flow/back 0 6
    sleep 0.05
    grep -q '^flow/back ' "$folder/on-6"
}
within 30 is_back
publish 6 flow/seventh 1 6 && within 10 grep -q '^flow/seventh 1 6$' "$folder/on-6"
fact $? 'it lets its client in again, alone'
! grep -q '^flow/seventh' "$folder/on-1"
fact $? 'and nothing of it reaches the others'

# ---- One that is gone for good is removed.
signal 5 KILL
within 30 has 2 'n5@.* is down' "$folder/1.log"
ctl 1 cluster force-leave "n5@$subnet.5:$links" >"$folder/said" 2>&1 ||
    ctl 1 cluster force-leave "n5@$subnet.5" >"$folder/said" 2>&1
fact $? "a node that is gone is removed: $(cat "$folder/said")"
knows_not() {
    ! ctl "$1" cluster status | grep -q "^n$2@"
}
within 20 knows_not 1 5 && within 20 knows_not 4 5
fact $? 'nobody knows it any more'

# ---- All stop and start.
stop 1 2 3 4
for node_number in 4 3 2 1; do
    run $node_number
done
within 60 all_see '1 2 3 4'
fact $? 'all start again and are the cluster that they were'
within 30 publish 1 flow/eighth 1 1 && within 20 grep -q '^flow/eighth 1 1$' "$folder/on-4"
fact $? 'messages flow'
no_errors 1 2 3 4 5 6
exit $failed
