#!/usr/bin/env python3
"""Three brokers that are restarted one after the other, under load.

    python3 tests/rolling_restart.py [QOS]

Needs Paho's Python client (Debian: python3-paho-mqtt). Nodes are at 127.0.0.1 to 127.0.0.3. Three
subscribers with kept sessions and three publishers move to the next node whenever they are sent
away; each keeps its own record. Each node is drained, stopped when no session is left on it,
and started again. Fails if a message that was acknowledged has not come to each subscriber, or
came twice, or out of its publisher's order. With QoS 1 two things are counted and allowed: what
comes again with DUP because a connection was closed before it was acknowledged, and what a
publisher has sent again for the same reason.
SHARDMQ_TEST_BROKER names another program than target/debug/shardmq.
"""

import os
import random
import sys
import tempfile
import threading
import time

try:
    import paho.mqtt.client as mqtt
except ImportError:
    print("skipped: Paho's Python client is not installed")
    sys.exit(0)

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "common"))

import brokers  # noqa: E402

QOS = int(sys.argv[1]) if len(sys.argv) > 1 else 1
PORT = random.randrange(20000, 30000, 2)
LINKS = PORT + 1
HOSTS = [f"127.0.0.{number}" for number in (1, 2, 3)]


class Client:
    """A client that is always connected to some node, or on its way to the next."""

    def __init__(self, name, first, filter=None):
        self.at, self.filter, self.is_over = first, filter, False
        self.received = []
        self.present = []
        self.done = set()
        # What it publishes now, and what it has sent again on another connection.
        self.current = None
        self.resent = set()
        self.client = mqtt.Client(name, clean_session=False)
        self.client.on_connect = self.connected
        self.client.on_message = self.came
        self.client.on_publish = lambda _client, _, identifier: self.done.add(identifier)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def connected(self, client, _, flags, code):
        if code != 0:
            return
        self.present.append(flags["session present"])
        if self.filter and len(self.present) == 1:
            client.subscribe(self.filter, QOS)

    def came(self, _client, _, message):
        # QoS 2 is the client's to deliver once.
        again = message.dup and message.qos == 1
        self.received.append((message.topic, int(message.payload), again))

    def run(self):
        while not self.is_over:
            try:
                self.client.connect(HOSTS[self.at % 3], PORT, 20)
                while not self.is_over and self.client.loop(0.1) == 0:
                    pass
            except OSError:
                pass
            self.resent.add(self.current)
            self.at += 1
            time.sleep(0.2)


def publish(client, topic, acknowledged, stop):
    """One number after the other, each when the one before is acknowledged."""
    number = 0
    while not stop.is_set():
        if not client.client.is_connected():
            time.sleep(0.05)
            continue
        number += 1
        client.current = number
        sent = client.client.publish(topic, number, qos=QOS)
        # One that is not sent at once is sent when there is a connection.
        while sent.mid not in client.done:
            time.sleep(0.002)
        client.current = None
        acknowledged.append(number)
        time.sleep(0.01)


def start(folder, settings=()):
    """The three brokers."""
    return [brokers.Node(folder, at, HOSTS, PORT, LINKS, settings) for at in range(3)]


def within(seconds, what, is_so):
    if not brokers.within(seconds, is_so):
        sys.exit(f"FAIL  {what}")
    print(f"ok    {what}", flush=True)


def restart(node, others):
    number = node.number + 1
    node.ctl("drain", "start", "--rate", "50")
    within(60, f"node {number} is drained", lambda: node.sessions() == 0)
    if node.stop() != 0:
        sys.exit(f"FAIL  node {number} ends with success")
    time.sleep(2)
    node.start()
    within(60, f"node {number} is back", lambda: others[0].running() == 3)


def under_load(nodes, restart_one):
    """Restarts the nodes in turn while three clients publish. What was acknowledged, by topic, and
    the publishers."""
    stop = threading.Event()
    acknowledged, publishers, threads = {}, [], []
    for number in range(3):
        publishers.append(Client(f"publisher-{number}", number))
        topic = f"roll/{number}"
        work = (publishers[-1], topic, acknowledged.setdefault(topic, []), stop)
        threads.append(threading.Thread(target=publish, args=work))
        threads[-1].start()
    time.sleep(3)
    for node in nodes:
        restart_one(node, [other for other in nodes if other is not node])
    stop.set()
    for thread in threads:
        thread.join()
    return acknowledged, publishers


def judge(subscribers, acknowledged, resent):
    """Whether every subscriber has everything, in order."""
    good = True
    for name, subscriber in subscribers.items():
        missing, twice, back, again = 0, 0, 0, 0
        for topic, numbers in acknowledged.items():
            came, seen = [], set()
            for from_topic, number, is_again in subscriber.received:
                if from_topic != topic:
                    continue
                is_again = is_again or QOS == 1 and number in resent[topic]
                if is_again and number in seen:
                    again += 1
                else:
                    came.append(number)
                seen.add(number)
            missing += len(set(numbers) - seen)
            twice += len(came) - len(seen)
            back += sum(later < earlier for earlier, later in zip(came, came[1:]))
        lost = subscriber.present.count(0) - 1
        fine = missing == 0 and twice == 0 and back == 0 and lost == 0
        good &= fine
        print(
            f"{'ok   ' if fine else 'FAIL '} {name}: {len(subscriber.received)} messages, "
            f"{missing} missing, {twice} twice, {again} again, {back} out of order, "
            f"{len(subscriber.present) - 1} moves, {lost} without its session"
        )
    return good


def main():
    with tempfile.TemporaryDirectory() as folder:
        nodes = start(folder)
        try:
            within(60, "three nodes are one cluster", lambda: nodes[0].running() == 3)
            names = [f"subscriber-{number}" for number in range(3)]
            subscribers = {name: Client(name, at, "roll/#") for at, name in enumerate(names)}
            all_in = lambda: all(client.present for client in subscribers.values())
            within(60, "subscribers are connected", all_in)
            time.sleep(2)
            acknowledged, publishers = under_load(nodes, restart)
            time.sleep(3)
            total = sum(map(len, acknowledged.values()))
            print(f"{total} messages of QoS {QOS} were acknowledged")
            resent = {topic: each.resent for topic, each in zip(acknowledged, publishers)}
            good = judge(subscribers, acknowledged, resent)
            for client in [*subscribers.values(), *publishers]:
                client.is_over = True
        finally:
            for node in nodes:
                node.kill()
        sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
