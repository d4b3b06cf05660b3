#!/bin/sh
# Tests the tests: runs them against Mosquitto and compares what fails with
# tests/mosquitto.txt. Any difference means that a test is wrong, or that this is not the
# version of Mosquitto that the list was made with.
set -u
cd "$(dirname "$0")/.."

export SHARDMQ_TEST_BROKER="mosquitto:${1:-/usr/sbin/mosquitto}"
export SHARDMQ_TEST_PATIENCE=4
families="clients connect conversations disconnect flow hostile life properties publish \
    retained session shared subscribe will"
targets=""
for family in $families; do targets="$targets --test $family"; done

# Mosquitto has no shards.
# shellcheck disable=SC2086
output=$(cargo test --no-fail-fast $targets -- one_shard 2>&1)
folder=$(mktemp -d)
trap 'rm -r "$folder"' EXIT
echo "$output" | sed -n 's/^test \(.*\)::mqtt[0-9]*_on_one_shard \.\.\. FAILED$/\1/p' |
    sort -u >"$folder/failed"
grep -v '^#' tests/mosquitto.txt | sed -n 's/: .*//p' | sort -u >"$folder/listed"
if diff "$folder/listed" "$folder/failed"; then
    echo "what fails is what is listed: $(wc -l <"$folder/listed") scenarios"
else
    echo "< passes although it is listed; > fails although it is not" >&2
    exit 1
fi
