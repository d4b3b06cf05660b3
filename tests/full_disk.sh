#!/bin/sh
# Runs tests/full_disk.rs with the broker's data on an ext4 file system of 64 MiB, which the
# tests fill. Needs root and loop devices; says so and succeeds where there are none.
set -eu
cd "$(dirname "$0")/.."

skip() {
    echo "skipped: $*"
    exit 0
}

[ "$(id -u)" = 0 ] || skip 'root is needed to mount file systems'
for tool in mkfs.ext4 losetup mount; do
    command -v "$tool" >/dev/null || skip "$tool is not installed"
done
losetup --find >/dev/null 2>&1 || skip 'there is no loop device'

folder=$(mktemp -d)
clean_up() {
    umount "$folder/disk" 2>/dev/null || true
    rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 1' INT TERM
mkdir "$folder/disk"
truncate -s 64M "$folder/disk.img"
mkfs.ext4 -q -m 0 "$folder/disk.img"
mount -o loop "$folder/disk.img" "$folder/disk" || skip 'the file system cannot be mounted'

SHARDMQ_TEST_SMALL_DISK=$folder/disk cargo test --test full_disk -- --test-threads=1 "$@"
