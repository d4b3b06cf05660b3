"""Three cores and two replicants, real clients that keep records, and what befalls a cluster.

    python3 tests/faults [--seed N] [--rate N] [SCENARIO…]
    python3 tests/faults --list

Starts five brokers, each in a network namespace of its own, with publishers of each QoS on every
node and subscribers that stay, that wander from node to node, and that share; has a fault come
over them; waits until all is quiet; and judges the records: docs in tests/README.md. Without names,
all scenarios run, half a minute each. Needs root (or a user namespace in which it is), ip, and
Paho's Python client (Debian: python3-paho-mqtt). SHARDMQ_TEST_BROKER names another program than
target/debug/shardmq. KEEP=1 leaves the folders with the logs.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "common"))

try:
    import paho.mqtt.client  # noqa: F401
except ImportError:
    print("skipped: Paho's Python client is not installed")
    sys.exit(0)

from judge import Judge  # noqa: E402
from scenarios import SCENARIOS  # noqa: E402
from world import World, make_network  # noqa: E402

COLUMNS = ["sent", "lost", "gap", "gap of clean", "twice", "moved twice", "order", "moved order",
           "session", "new sessions", "group", "group gap", "group cut short", "group twice",
           "will", "delayed", "retained", "owner", "exclusive", "routes", "log", "seconds"]


def arguments():
    parser = argparse.ArgumentParser(prog="tests/faults")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=4, help="messages a second of a publisher")
    parser.add_argument("--set", action="append", default=[], help="KEY=VALUE for all nodes")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("scenarios", nargs="*")
    return parser.parse_args()


def own_network():
    """Goes on in a network of its own, if it is not in one."""
    if os.environ.get("OWN_NETWORK") == "own":
        return
    words = ["unshare", "-n", "-m"] if os.getuid() == 0 else ["unshare", "-r", "-n", "-m"]
    if not shutil.which("ip") or subprocess.run([*words, "true"], capture_output=True).returncode:
        print("skipped: no ip, or no right to make network namespaces")
        sys.exit(0)
    os.environ["OWN_NETWORK"] = "own"
    os.execvp(words[0], [*words, sys.executable, *sys.argv])


def small_disk(folder, number):
    """A file system of its own for a node's data, where that is possible."""
    place = os.path.join(folder, f"disk{number}")
    image = f"{place}.image"
    os.makedirs(place)
    with open(image, "w") as file:
        file.truncate(128 << 20)
    made = subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], capture_output=True)
    if made.returncode == 0:
        subprocess.run(["mount", "-o", "loop", image, place], capture_output=True)
    return os.path.join(place, "data")


def run(scenario, options):
    """One scenario; what the records say of it."""
    folder = tempfile.mkdtemp(prefix=f"faults-{scenario.__name__}-")
    settings = dict(pair.split("=", 1) for pair in options.set)
    world = World(folder, f"{options.seed} {scenario.__name__}", options.rate, settings)
    disks = {}
    if scenario.__name__ == "disk_full":
        disks = {number: small_disk(folder, number) for number in (0, 1, 2)}
    try:
        world.start_nodes(disks)
        world.start_clients()
        time.sleep(2)
        world.mark_logs()
        scenario(world)
        world.settle()
        time.sleep(2)
        world.quiet()
        verdict = Judge(world).all()
        with open(os.path.join(folder, "failures"), "w") as file:
            file.writelines(f"{line}\n" for line in verdict.failures)
        return verdict, world
    finally:
        world.close()
        for path in disks.values():
            subprocess.run(["umount", os.path.dirname(path)], capture_output=True)
        if os.environ.get("KEEP") == "1":
            print(f"logs: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def main():
    options = arguments()
    if options.list:
        for scenario in SCENARIOS:
            print(f"{scenario.__name__:27} {scenario.__doc__}")
        return
    own_network()
    make_network()
    chosen = [one for one in SCENARIOS
              if not options.scenarios or one.__name__ in options.scenarios]
    unknown = set(options.scenarios) - {one.__name__ for one in chosen}
    if unknown:
        sys.exit(f"no such scenario: {' '.join(unknown)}")
    print(f"three cores, two replicants, seed {options.seed}")
    is_good = True
    for scenario in chosen:
        try:
            verdict, world = run(scenario, options)
            failures, numbers, notes = verdict.failures, verdict.numbers, world.notes
        except RuntimeError as error:
            failures, numbers, notes = [str(error)], {}, []
        is_good &= not failures
        figures = ", ".join(f"{name} {numbers[name]}" for name in COLUMNS if numbers.get(name))
        print(f"{'FAIL ' if failures else 'ok   '} {scenario.__name__}: {figures}", flush=True)
        for line in [*notes, *failures[:8]]:
            print(f"          {line}", flush=True)
        if len(failures) > 8:
            print(f"          and {len(failures) - 8} more")
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
