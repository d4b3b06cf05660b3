"""What befalls a cluster. Each function is a scenario; its first line says what happens."""

import os
import shutil
import subprocess
import time

from brokers import within

CORES, REPLICANTS = (0, 1, 2), (3, 4)
EVERYBODY = (0, 1, 2, 3, 4)
# A node that is silent for so long is given up, and a moment more.
GIVEN_UP_SECONDS = 4.5


def challenge(world, *numbers):
    """Who is connected to these nodes connects to another one."""
    living = [at for at in world.reachable() if at not in numbers]
    for number in numbers:
        world.duels[number].challenge(world.random.choice(living))


def kill(world, number, seconds):
    world.send_delayed()
    world.kill(number)
    time.sleep(min(seconds, 1))
    world.break_wills()
    time.sleep(max(seconds - 1, 0))
    world.start(number)


def calm(world):
    """nothing; sessions and wills move"""
    world.send_delayed()
    world.break_wills()
    challenge(world, 1, 4)
    time.sleep(5)


def core_killed(world):
    """kill -9 of a core that does not lead, restarted after 1 s"""
    kill(world, world.random.choice([at for at in CORES if at != world.leader()]), 1)


def core_killed_long(world):
    """kill -9 of a core that does not lead, restarted after 8 s"""
    kill(world, world.random.choice([at for at in CORES if at != world.leader()]), 8)


def replicant_killed(world):
    """kill -9 of a replicant, restarted after 1 s"""
    kill(world, world.random.choice(REPLICANTS), 1)


def replicant_killed_long(world):
    """kill -9 of a replicant, restarted after 8 s"""
    kill(world, world.random.choice(REPLICANTS), 8)


def leader_killed(world):
    """kill -9 of the leader, restarted after 1 s"""
    kill(world, world.leader(), 1)


def leader_killed_long(world):
    """kill -9 of the leader, restarted after 8 s"""
    kill(world, world.leader(), 8)


def freeze(world, number, seconds):
    world.send_delayed()
    world.freeze(number, known=seconds > 3)
    time.sleep(0.5)
    if seconds > 3:
        world.break_wills()
        time.sleep(GIVEN_UP_SECONDS)
        challenge(world, number)
    time.sleep(max(seconds - 0.5 - (GIVEN_UP_SECONDS if seconds > 3 else 0), 0))
    world.thaw(number)


def core_frozen_short(world):
    """SIGSTOP of a core that does not lead for 2 s"""
    freeze(world, world.random.choice([at for at in CORES if at != world.leader()]), 2)


def core_frozen(world):
    """SIGSTOP of a core that does not lead for 10 s"""
    freeze(world, world.random.choice([at for at in CORES if at != world.leader()]), 10)


def replicant_frozen_short(world):
    """SIGSTOP of a replicant for 2 s"""
    freeze(world, world.random.choice(REPLICANTS), 2)


def replicant_frozen(world):
    """SIGSTOP of a replicant for 10 s"""
    freeze(world, world.random.choice(REPLICANTS), 10)


def leader_frozen_short(world):
    """SIGSTOP of the leader for 2 s"""
    freeze(world, world.leader(), 2)


def leader_frozen(world):
    """SIGSTOP of the leader for 10 s"""
    freeze(world, world.leader(), 10)


def one_way_cut(world):
    """nothing that a core sends reaches another one, for 8 s"""
    world.send_delayed()
    source, target = world.random.sample(CORES, 2)
    world.hits(source, target)
    world.cut(source, target)
    time.sleep(1)
    world.break_wills()
    time.sleep(7)
    world.heal()


def replicant_cut_from_leader(world):
    """the link between a replicant and the leader is cut in both directions, for 8 s"""
    world.send_delayed()
    replicant, leader = world.random.choice(REPLICANTS), world.leader()
    world.hits(replicant, leader)
    world.split([replicant], [leader])
    time.sleep(8)
    world.heal()


def minority(world):
    """a core and a replicant see only each other, for 9 s"""
    world.send_delayed()
    alone = [world.random.choice(CORES), world.random.choice(REPLICANTS)]
    divide(world, alone, [at for at in EVERYBODY if at not in alone])


def majority(world):
    """two cores see only each other, for 9 s: the other core has both replicants with it"""
    world.send_delayed()
    alone = [world.random.choice(CORES), *REPLICANTS]
    divide(world, alone, [at for at in EVERYBODY if at not in alone])


def divide(world, alone, others):
    world.hits(*alone)
    world.split(alone, others)
    world.away |= set(alone)
    time.sleep(GIVEN_UP_SECONDS)
    world.break_wills()
    challenge(world, *alone)
    time.sleep(9 - GIVEN_UP_SECONDS)
    world.heal()
    world.away -= set(alone)


def all_alone(world):
    """every node is alone, for 6 s"""
    world.hits(*EVERYBODY)
    world.split(EVERYBODY, EVERYBODY)
    time.sleep(6)
    world.heal()


def ring(world):
    """each node sees its two neighbours only, for 8 s"""
    world.send_delayed()
    world.hits(*EVERYBODY)
    for at in EVERYBODY:
        world.split([at], [(at + 2) % 5, (at + 3) % 5])
    time.sleep(8)
    world.heal()


def rolling(world):
    """each node is drained, stopped and started, one after the other"""
    for number in EVERYBODY:
        node = world.nodes[number]
        world.hits(number)
        node.ctl("drain", "start", "--rate", "100")
        world.away.add(number)
        time.sleep(1.5)
        if node.stop() != 0:
            world.troubles.append(f"node {number + 1} does not end with success")
        world.start(number)
        if not within(30, world.is_whole):
            world.troubles.append(f"node {number + 1} is not linked again")


def stopped(world):
    """each node is stopped with SIGTERM and started at once, one after the other"""
    for number in EVERYBODY:
        node = world.nodes[number]
        world.hits(number)
        world.away.add(number)
        if node.stop() != 0:
            world.troubles.append(f"node {number + 1} does not end with success")
        world.start(number)
        if not within(30, world.is_whole):
            world.troubles.append(f"node {number + 1} is not linked again")


def join_and_leave(world):
    """a sixth node joins under load and leaves again"""
    world.send_delayed()
    world.fault_began = time.monotonic()
    sixth = world.add_node(5)
    if not within(30, world.is_whole):
        world.troubles.append("the sixth node is not linked with all")
    world.break_wills()
    time.sleep(3)
    said = sixth.ctl("cluster", "leave")
    if said.returncode != 0:
        world.troubles.append(f"it does not leave: {said.stderr.strip()}")
    time.sleep(1)
    world.nodes.remove(sixth)
    sixth.kill()


def folder_lost(world):
    """kill -9 of a core whose folder is lost; it comes back without"""
    number = world.random.choice(CORES)
    world.kill(number)
    world.folders_lost.add(number)
    time.sleep(1)
    shutil.rmtree(world.nodes[number].data)
    world.start(number)


def all_killed(world):
    """kill -9 of all, restarted after 1 s"""
    world.send_delayed()
    world.is_cold = True
    world.kill(*EVERYBODY)
    time.sleep(1)
    world.start(*world.random.sample(EVERYBODY, 5))


def slow_node(world):
    """SIGSTOP of a node for 2 s: what others publish for each other goes on meanwhile"""
    number = world.random.choice(REPLICANTS)
    publishers, subscriber = world.start_fast(*[at for at in EVERYBODY if at != number][:3])
    counts = []
    for is_frozen in (False, True):
        if is_frozen:
            world.freeze(number, known=False)
        before = len(subscriber.received)
        time.sleep(2)
        counts.append(len(subscriber.received) - before)
    world.thaw(number)
    for publisher in publishers:
        publisher.is_quiet = True
    world.notes.append(f"delivered in 2 s: {counts[0]} before, {counts[1]} beside a slow node")
    if counts[1] * 2 < counts[0]:
        world.troubles.append("a slow node has slowed others")


def disk_full(world):
    """the disk of a core is full for 5 s"""
    number = world.random.choice(CORES)
    folder = os.path.dirname(world.nodes[number].data)
    if not os.path.ismount(folder):
        world.notes.append("skipped: no file system of its own")
        return
    world.hits(number)
    ballast = os.path.join(folder, "ballast")
    subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=1M"], stderr=subprocess.DEVNULL)
    time.sleep(5)
    os.remove(ballast)


SCENARIOS = [
    calm, core_killed, core_killed_long, replicant_killed, replicant_killed_long, leader_killed,
    leader_killed_long, core_frozen_short, core_frozen, replicant_frozen_short, replicant_frozen,
    leader_frozen_short, leader_frozen, one_way_cut, replicant_cut_from_leader, minority, majority,
    all_alone, ring, rolling, stopped, join_and_leave, folder_lost, all_killed, slow_node,
    disk_full,
]
