#!/bin/sh
# Is anything missing after a power cut that the broker had acknowledged before?
#
#   sh tests/power_cut.sh [ROUNDS]
#
# The data folder is on an ext4 file system in a file. While clients publish, the file is
# copied, which is what a disk holds whose power fails: nothing of what the kernel has not
# written. A second broker then starts on the copy. Where the file itself is on a file system
# that can share blocks (XFS, Btrfs; xfsprogs is used if it is there), the copy is of one
# moment; elsewhere it takes as long as copying takes.
#
# Needs root and loop devices; says so and succeeds where there are none. BROKER and LOADGEN
# name other programs than those of target/release.
set -eu
cd "$(dirname "$0")/.."

rounds=${1:-5}
broker=${BROKER:-target/release/shardmq}
loadgen=${LOADGEN:-target/release/loadgen}

skip() {
    echo "skipped: $*"
    exit 0
}

[ "$(id -u)" = 0 ] || skip 'root is needed to mount file systems'
for tool in mkfs.ext4 losetup mount; do
    command -v "$tool" >/dev/null || skip "$tool is not installed"
done
losetup --find >/dev/null 2>&1 || skip 'there is no loop device'
for program in "$broker" "$loadgen"; do
    [ -x "$program" ] || { echo "$program is not built: cargo build --release --workspace"; exit 1; }
done

folder=$(mktemp -d)
clean_up() {
    for point in copy disk outer; do
        umount "$folder/$point" 2>/dev/null || true
    done
    rm -rf "$folder"
}
trap clean_up EXIT
trap 'exit 1' INT TERM
mkdir "$folder/outer" "$folder/disk" "$folder/copy"

if command -v mkfs.xfs >/dev/null; then
    truncate -s 2G "$folder/outer.img"
    mkfs.xfs -q "$folder/outer.img"
    if ! mount -o loop "$folder/outer.img" "$folder/outer" 2>/dev/null; then
        echo 'XFS cannot be mounted; the copies take their time'
    fi
fi
image=$folder/outer/disk.img
copy=$folder/outer/copy.img
truncate -s 512M "$image"
mkfs.ext4 -q "$image"
mount -o loop "$image" "$folder/disk" || skip 'the file system in a file cannot be mounted'

"$loadgen" power-cut --broker "$broker" --rounds "$rounds" \
    --data-dir "$folder/disk/data" --copy-dir "$folder/copy" \
    --copy "cp --reflink=${REFLINK:-auto} --sparse=${SPARSE:-auto} '$image' '$copy'" \
    --open "mount -o loop '$copy' '$folder/copy'" \
    --close "umount '$folder/copy'" \
    ${LOADGEN_OPTIONS:-}
