"""Three cores and two replicants in network namespaces, their clients, and what befalls them."""

import os
import random
import re
import signal
import subprocess
import time

import paho.mqtt.client as mqtt

from brokers import Node, within
from clients import Client, Publisher, Subscriber, now
from duel import Duel

SUBNET = "10.78.0"
COUNT = 5
CORES = 3
PORT, LINKS = 1883, 4370


def ip(*words):
    subprocess.run(["ip", *words], check=True, stderr=subprocess.DEVNULL)


def make_network():
    """A bridge with a namespace for each node, all in a namespace that nobody else sees."""
    os.makedirs("/run/netns", exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "none", "/run/netns"], check=True)
    ip("link", "set", "lo", "up")
    ip("link", "add", "name", "switch", "type", "bridge")
    ip("addr", "add", f"{SUBNET}.254/24", "dev", "switch")
    ip("link", "set", "switch", "up")
    for number in range(1, COUNT + 2):
        ip("netns", "add", f"n{number}")
        ip("link", "add", f"v{number}", "type", "veth", "peer", "name", "eth0", "netns",
           f"n{number}")
        ip("link", "set", f"v{number}", "master", "switch", "up")
        ip("-n", f"n{number}", "link", "set", "lo", "up")
        ip("-n", f"n{number}", "addr", "add", f"{SUBNET}.{number}/24", "dev", "eth0")
        ip("-n", f"n{number}", "link", "set", "eth0", "up")


class World:
    """A cluster with clients, for one scenario. Nodes are counted from 0 here."""

    def __init__(self, folder, seed, rate, settings=()):
        self.folder, self.rate, self.random = folder, rate, random.Random(seed)
        self.port = PORT
        self.settings = {
            "node.cookie": "a cookie for tests of faults",
            "allow_anonymous": "true",
            "mqtt.exclusive_subscription": "true",
            **dict(settings),
        }
        self.hosts = [f"{SUBNET}.{number}" for number in range(1, COUNT + 2)]
        self.nodes, self.clients = [], []
        self.publishers, self.subscribers, self.wills, self.delayed = [], [], [], []
        self.groups = {}
        self.away, self.cuts, self.log_sizes = set(), set(), []
        # What the fault touched, and when; a node that it killed; what went wrong on the way.
        self.hit, self.killed, self.troubles, self.notes = {}, set(), [], []
        self.fault_began = self.settled_at = None
        self.began, self.is_cold, self.folders_lost = now(), False, set()

    def zero(self):
        """What times are counted from when they are printed."""
        return self.fault_began or self.began

    def is_lost(self, number):
        """Whether a session on this node may have been out of reach."""
        return number in self.hit

    # ---- Nodes.

    def add_node(self, number, data=None):
        settings = dict(self.settings)
        if number >= CORES:
            settings["node.db_role"] = "replicant"
        enter = ["ip", "netns", "exec", f"n{number + 1}"]
        hosts = self.hosts
        node = Node(self.folder, number, hosts, PORT, LINKS, settings, enter, data)
        self.nodes.append(node)
        return node

    def start_nodes(self, disks):
        for number in range(COUNT):
            self.add_node(number, disks.get(number))
        if not within(40, self.is_whole):
            raise RuntimeError("the five do not become one cluster")

    def topology(self):
        """What each node says of its links: {name: {name: link}}, or None."""
        for node in self.nodes:
            if node.number not in self.away:
                found = node.ask("/cluster/topology")
                return found and {one["node"]: one for one in found if "links" in one}
        return None

    def is_whole(self):
        """Whether every node is linked with every other."""
        topology = self.topology()
        names = {node.name for node in self.nodes}
        return bool(topology) and set(topology) == names and all(
            names - {name} == {
                link["node"] for link in one["links"]
                if link["connected"] and link["state"] == "alive"
            }
            for name, one in topology.items()
        )

    def leader(self):
        for one in (self.topology() or {}).values():
            found = re.match(r"n(\d+)@", one["membership"]["leader"] or "")
            if found:
                return int(found[1]) - 1
        raise RuntimeError("nobody leads")

    def reachable(self):
        """Nodes that a client would try."""
        return [node.number for node in self.nodes if node.number not in self.away] or [0]

    # ---- Clients.

    def start_clients(self):
        add = self.clients.append
        for at in range(COUNT):
            filters = ["t/#", "w/#", "d/#"]
            for name, clean, qos in ((f"kept-{at + 1}", False, 2), (f"clean-{at + 1}", True, 1)):
                self.subscribers.append(Subscriber(self, name, at, clean, qos, filters))
        for number in range(2):
            name = f"wanderer-{number + 1}"
            self.subscribers.append(
                Subscriber(self, name, number, False, 2, ["t/#", "w/#", "d/#"], wanders=True)
            )
        for group, clean in (("g", True), ("h", False)):
            self.groups[group] = [
                Subscriber(self, f"{group}-{at + 1}", at, clean, 2, [f"$share/{group}/t/#"])
                for at in (0, 1, 2, 3)
            ]
        for client in [*self.subscribers, *sum(self.groups.values(), [])]:
            add(client.start())
        self.start_marked_clients()
        if not within(30, lambda: all(one.is_up for one in self.clients)):
            raise RuntimeError("not all clients are let in")
        time.sleep(1.5)
        self.start_publishers()

    def start_publishers(self):
        for at in range(COUNT):
            for qos in (0, 1, 2):
                name = f"p{at + 1}q{qos}"
                self.publishers.append(Publisher(self, name, at, qos, f"t/{name}"))
            name = f"r{at + 1}"
            self.publishers.append(Publisher(self, name, at, 1, f"r/{name}", retain=True))
            self.publishers.append(Publisher(self, f"c{at + 1}", at, 1, "r/all", retain=True))
        for qos in (1, 2):
            name = f"w{qos}"
            self.publishers.append(Publisher(self, name, qos, qos, f"t/{name}", wanders=True))
        for publisher in self.publishers:
            self.clients.append(publisher.start())

    def start_marked_clients(self):
        """Those whose end, or whose owner, matters."""
        self.duels = [Duel(self, at) for at in range(COUNT)]
        for at in range(COUNT):
            for kind, delay in (("now", 0), ("late", 2), ("back", 15)):
                name = f"will-{kind}-{at + 1}"
                client = Client(
                    self, name, at, kind == "now", mqtt.MQTTv5, (f"w/{kind}", delay)
                )
                client.kind = kind
                self.wills.append(client)
                self.clients.append(client.start())

    def send_delayed(self):
        """A message from each node that is to come later, in the middle of what happens."""
        for at in range(COUNT):
            publisher = Publisher(self, f"delayed-{at + 1}", at, 2, f"$delayed/4/d/{at + 1}")
            publisher.is_quiet = True
            self.clients.append(publisher.start())
            within(10, lambda: publisher.is_up)
            publisher.is_quiet, publisher.most = False, 1
            if within(10, lambda: publisher.acknowledged):
                self.delayed.append(at)
            publisher.is_quiet = True
            publisher.end()

    def break_wills(self):
        """Clients on nodes that live end without DISCONNECT; some come back elsewhere."""
        living = self.reachable()
        for client in self.wills:
            if client.node not in living:
                continue
            client.was_broken = True
            if client.kind == "back":
                client.node = self.random.choice(living)
                client.is_moving = True
            else:
                client.end()

    # ---- What befalls them.

    def hits(self, *numbers):
        """The fault begins, or goes on, at these nodes."""
        self.fault_began = self.fault_began or now()
        for number in numbers:
            self.hit.setdefault(number, now())

    def kill(self, *numbers):
        self.hits(*numbers)
        for number in numbers:
            self.away.add(number)
            self.killed.add(number)
            self.nodes[number].kill()

    def start(self, *numbers):
        for number in numbers:
            self.nodes[number].start()
            self.away.discard(number)

    def freeze(self, *numbers, known=True):
        self.hits(*numbers)
        for number in numbers:
            if known:
                self.away.add(number)
            self.nodes[number].signal(signal.SIGSTOP)

    def thaw(self, *numbers):
        for number in numbers:
            self.nodes[number].signal(signal.SIGCONT)
            self.away.discard(number)

    def cut(self, source, target):
        """Nothing that a node sends reaches the other."""
        if (source, target) in self.cuts:
            return
        self.cuts.add((source, target))
        ip("-n", f"n{source + 1}", "neigh", "replace", self.hosts[target],
           "lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "permanent")

    def split(self, one, other):
        for a in one:
            for b in other:
                self.cut(a, b)
                self.cut(b, a)

    def heal(self):
        for source, target in sorted(self.cuts):
            ip("-n", f"n{source + 1}", "neigh", "del", self.hosts[target], "dev", "eth0")
        self.cuts.clear()

    def mark_logs(self):
        self.log_sizes = [node.log_size() for node in self.nodes]

    def given_up(self, number):
        """Whether another node has given up a node since the fault began."""
        text = f"{self.nodes[number].name} is down"
        return any(
            other.logged(text, self.log_sizes[other.number]) > 0
            for other in self.nodes[:COUNT] if other.number != number
        )

    def start_fast(self, *numbers):
        """Publishers and a subscriber on some nodes, whom the others do not concern."""
        subscriber = Subscriber(self, "fast", numbers[0], True, 1, ["fast/#"])
        self.clients.append(subscriber.start())
        within(10, lambda: subscriber.subscribed)
        time.sleep(1)
        fast = [Publisher(self, f"f{at + 1}", at, 1, f"fast/{at + 1}") for at in numbers]
        for publisher in fast:
            publisher.rate = 50
            self.clients.append(publisher.start())
        within(10, lambda: all(one.acknowledged for one in fast))
        return fast, subscriber

    # ---- The end.

    def settle(self, seconds=40):
        """Waits until every node is linked with every other, and clients are in."""
        if not within(seconds, self.is_whole):
            self.troubles.append("the nodes are not all linked again")
        if not within(30, lambda: all(one.is_up for one in self.clients if not one.is_over)):
            out = [one.name for one in self.clients if not one.is_over and not one.is_up]
            self.troubles.append(f"not connected again: {' '.join(out)}")
        self.settled_at = now()

    def quiet(self):
        """Publishers end, and what is on its way arrives."""
        for publisher in self.publishers:
            publisher.is_quiet = True
        for subscriber in self.subscribers:
            subscriber.is_quiet = True
        if not within(25, lambda: not any(one.waiting for one in self.publishers)):
            stuck = [one.name for one in self.publishers if one.waiting]
            self.troubles.append(f"never acknowledged: {' '.join(stuck)}")
        everybody = [*self.subscribers, *sum(self.groups.values(), [])]

        def silent():
            newest = max((one.received[-1][0] for one in everybody if one.received), default=0)
            return now() - newest > 2

        within(20, silent)

    def close(self):
        for client in self.clients:
            client.is_over = True
        for node in self.nodes:
            if node.process.poll() is None:
                node.signal(signal.SIGCONT)
                node.kill()
