# What the scripts about several brokers have in common. To be read by them, in the folder above.
# They set subnet and port (where node N listens), links (the port between nodes), and enter, if a
# node runs in something that it begins; then they begin.

skip() {
    echo "skipped: $*"
    exit 0
}

program() {
    command -v "$1" >/dev/null || { echo "no program $1: $2" >&2; exit 2; }
    echo "$(cd "$(dirname "$1")" && pwd)/$(basename "$1")"
}

# need TOOL…: without one of them the script is skipped.
need() {
    for tool in "$@"; do
        command -v "$tool" >/dev/null || skip "$tool is not installed"
    done
}

# begin: finds the broker, and makes the folder for all that the script leaves.
begin() {
    broker=$(program "${SHARDMQ_TEST_BROKER:-target/debug/shardmq}" 'cargo build') || exit 2
    seeds=n1@$subnet.1:$links,n2@$subnet.2:$links,n3@$subnet.3:$links
    folder=$(mktemp -d)
    failed=0
    started=
    trap clean_up EXIT
    trap 'exit 1' INT TERM
}

# Every process that was started ends with the script.
clean_up() {
    for pid in $started; do
        kill -CONT "$pid" 2>/dev/null
        kill -KILL "$pid" 2>/dev/null
    done
    wait 2>/dev/null
    if [ "${KEEP:-}" = 1 ]; then echo "logs: $folder"; else rm -rf "$folder"; fi
}

# fact STATUS TEXT: a line, and a failure if STATUS is not 0.
fact() {
    if [ "$1" = 0 ]; then
        echo "ok    $2"
    else
        echo "FAIL  $2"
        failed=1
    fi
}

now_ms() {
    echo $(($(date +%s%N) / 1000000))
}

# within SECONDS COMMAND…: runs it until it succeeds; fails when the time is over.
within() {
    end=$(($(now_ms) + $1 * 1000))
    shift
    until "$@"; do
        [ "$(now_ms)" -lt "$end" ] || return 1
        sleep 0.05
    done
}

# has COUNT PATTERN FILE: at least so many lines match.
has() {
    [ "$(grep -c -e "$2" "$3" 2>/dev/null)" -ge "$1" ]
}

# start NODE OPTIONS…: its process is $node_NODE, its log $folder/NODE.log.
start() {
    mkdir -p "$folder/$1"
    (
        number=$1
        shift
        cd "$folder/$number" || exit
        # shellcheck disable=SC2086 # several words, or none
        exec ${enter:+$enter$number} "$broker" --set "node.name=n$number@$subnet.$number:$links" \
            --set cluster.discovery_strategy=static --set "cluster.static.seeds=$seeds" \
            --set "listeners.tcp.default.bind=$subnet.$number:$port" --set shards.count=1 "$@"
    ) >"$folder/$1.log" 2>&1 &
    eval "node_$1=$!"
    started="$started $!"
    within 30 has 1 'is ready' "$folder/$1.log" || {
        echo "node $1 does not start:" >&2
        cat "$folder/$1.log" >&2
        exit 2
    }
}

# signal NODE SIGNAL
signal() {
    eval "kill -$2 \$node_$1"
}

# subscribe NODE FILE OPTIONS…: in the background; its process is $client.
subscribe() {
    node=$1 file=$2
    shift 2
    mosquitto_sub -h "$subnet.$node" -p "$port" -F '%t %q %p' "$@" \
        >"$folder/$file" 2>"$folder/$file.errors" &
    client=$!
    started="$started $client"
}

# publish NODE TOPIC QOS TEXT OPTIONS…: succeeds when it was acknowledged.
publish() {
    node=$1 topic=$2 qos=$3 text=$4
    shift 4
    timeout 20 mosquitto_pub -h "$subnet.$node" -p "$port" -t "$topic" -q "$qos" -m "$text" "$@"
}

# probed NODE FILE: a message from the node comes to the subscriber with this file, which has
# a subscription to probe/#.
probed() {
    publish "$1" "probe/$1" 0 x
    sleep 0.05
    grep -q "^probe/$1 " "$folder/$2"
}

stop_client() {
    kill "$1" 2>/dev/null
    wait "$1" 2>/dev/null
}

# lacks FILE PATTERNS: prints which lines of PATTERNS are not in FILE; fails if there are some.
lacks() {
    sort -u "$1" >"$folder/found"
    sort -u "$2" | comm -23 - "$folder/found" >"$folder/missing"
    [ ! -s "$folder/missing" ] || { head -n 5 "$folder/missing"; return 1; }
}

# stop NODE…: each ends with success.
stop() {
    for number in "$@"; do
        signal "$number" TERM
        eval "wait \$node_$number"
        fact $? "node $number ends with success"
    done
}

# no_errors NODE…: the log of none has any.
no_errors() {
    for number in "$@"; do
        ! grep -E 'panic|ERROR' "$folder/$number.log"
        fact $? "node $number has met no error"
    done
}
