#!/usr/bin/env python3
"""Three brokers that are told to stop one after the other, under load, without being drained.

    python3 tests/rolling_stop.py

Needs Paho's Python client (Debian: python3-paho-mqtt). Like rolling_restart.py, which it uses, but
each node gets SIGTERM while clients are on it: two subscribers with kept sessions that reconnect,
and on each node one whose client is away, one with a will, and one with a will that waits. Fails if
a message of QoS 1 that was acknowledged has not come to each subscriber, those that were away
included, if a session is lost, if a will does not come once, or if a stop of all nodes at once
takes long.
SHARDMQ_TEST_BROKER names another program than target/debug/shardmq.
"""

import sys
import tempfile
import threading
import time

from rolling_restart import HOSTS, PORT, Client, judge, start, under_load, within

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

# Messages that come for who is away.
SETTINGS = {"mqtt.max_mqueue_len": "100000"}

# How long a node may take to stop, in seconds.
STOP_MAX = 30

# How long the wills wait that do, in seconds.
WILL_DELAY = 15


class Away:
    """A client that subscribes and is away until the end."""

    def __init__(self, name, at):
        self.name, self.received, self.present = name, [], []
        client = self.connect(at)
        _, identifier = client.subscribe("roll/#", 1)
        granted = []
        client.on_subscribe = lambda *_: granted.append(identifier)
        within(20, f"{name} is subscribed", lambda: granted)
        client.disconnect()
        client.loop_stop()

    def connect(self, at):
        client = mqtt.Client(self.name, clean_session=False)
        client.on_connect = lambda _c, _u, flags, code: code or self.present.append(
            flags["session present"]
        )
        client.on_message = lambda _c, _u, message: self.received.append(
            (message.topic, int(message.payload), message.dup)
        )
        before = len(self.present)
        client.connect(HOSTS[at % 3], PORT, 60)
        client.loop_start()
        within(30, f"{self.name} is connected", lambda: len(self.present) > before)
        return client


def serve(client):
    """Until its connection ends; it does not connect again."""
    while client.loop(1) == 0:
        pass


def mortal(number, delay):
    """A client with a will that connects once, to one node."""
    connected = []
    client = mqtt.Client(f"mortal-{number}-{delay}", protocol=mqtt.MQTTv5)
    will, connect = Properties(PacketTypes.WILLMESSAGE), Properties(PacketTypes.CONNECT)
    will.WillDelayInterval = delay
    connect.SessionExpiryInterval = 600
    client.will_set(f"will/{number}/{delay}", 1, qos=1, properties=will)
    client.on_connect = lambda *_: connected.append(True)
    client.connect(HOSTS[number], PORT, 60, clean_start=False, properties=connect)
    threading.Thread(target=serve, args=(client,), daemon=True).start()
    within(20, f"mortal {number} with delay {delay} is there", lambda: connected)


class Witness:
    """A client without a session, to whom what is published once comes once at most."""

    def __init__(self, number):
        self.topics, self.at, self.is_over = [], number, False
        self.client = mqtt.Client(f"witness-{number}", clean_session=True)
        self.client.on_connect = lambda client, *_: client.subscribe("will/#", 0)
        self.client.on_message = lambda _c, _u, message: self.topics.append(message.topic)
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while not self.is_over:
            try:
                self.client.connect(HOSTS[self.at % 3], PORT, 20)
                while not self.is_over and self.client.loop(0.1) == 0:
                    pass
            except OSError:
                pass
            self.at += 1
            time.sleep(0.2)


def stop(nodes):
    begun = time.time()
    for node in nodes:
        node.process.terminate()
    for node in nodes:
        if node.process.wait(STOP_MAX) != 0:
            sys.exit(f"FAIL  node {node.number + 1} ends with success")
    print(f"ok    {len(nodes)} stopped, after {time.time() - begun:.1f} s", flush=True)


def restart(node, others):
    stop([node])
    time.sleep(3)
    node.start()
    within(60, f"node {node.number + 1} is back", lambda: others[0].running() == 3)


def wills(watcher, witnesses, which):
    """Whether each will came, and was published once: a session that moves may get one twice."""
    missing = [topic for topic in which if topic not in {seen[0] for seen in watcher.received}]
    most = {topic: max(it.topics.count(topic) for it in witnesses) for topic in which}
    wrong = missing or max(most.values()) > 1
    print(f"{'FAIL ' if wrong else 'ok   '} wills: {missing} missing, seen {most}", flush=True)
    return not wrong


def run(nodes):
    within(60, "three nodes are one cluster", lambda: nodes[0].running() == 3)
    subscribers = {f"moving-{at}": Client(f"moving-{at}", at, "roll/#") for at in range(2)}
    watcher = Client("watcher", 2, "will/#")
    witnesses = [Witness(number) for number in range(3)]
    all_in = lambda: watcher.present and all(it.present for it in subscribers.values())
    within(60, "subscribers are connected", all_in)
    away = {f"away-{at}": Away(f"away-{at}", at) for at in range(3)}
    for number in range(3):
        mortal(number, 0)
        mortal(number, WILL_DELAY)
    time.sleep(2)
    acknowledged, publishers = under_load(nodes, restart)
    topics = [f"will/{number}/{delay}" for number in range(3) for delay in (0, WILL_DELAY)]
    all_came = lambda: {*topics} <= {seen[0] for seen in watcher.received}
    within(WILL_DELAY + 20, "all wills came", all_came)
    clients = [it.connect(at + 1) for at, it in enumerate(away.values())]
    total = sum(map(len, acknowledged.values()))
    print(f"{total} messages were acknowledged", flush=True)
    has_all = lambda it: {seen[:2] for seen in it.received} >= {
        (topic, number) for topic, numbers in acknowledged.items() for number in numbers
    }
    within(60, "who was away gets everything", lambda: all(map(has_all, away.values())))
    time.sleep(3)
    for it in away.values():
        # The first one was its own.
        it.present = it.present[-1:] + [0]
    resent = {topic: each.resent for topic, each in zip(acknowledged, publishers)}
    good = judge({**subscribers, **away}, acknowledged, resent)
    good &= wills(watcher, witnesses, topics)
    for client in clients:
        client.loop_stop()
    for client in [*subscribers.values(), *publishers, watcher, *witnesses]:
        client.is_over = True
    stop(nodes)
    return good


def main():
    with tempfile.TemporaryDirectory() as folder:
        nodes = start(folder, SETTINGS)
        try:
            good = run(nodes)
        finally:
            for node in nodes:
                node.kill()
        sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
