"""Clients that keep records of what they sent, what was acknowledged, and what came."""

import threading
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

# What Paho calls a message for which PUBREC has come on an earlier connection.
TO_BE_RELEASED = mqtt.mqtt_ms_resend_pubrel

# Without CONNACK for so long a client tries again.
CONNACK_SECONDS = 10


def now():
    return time.monotonic()


def keep_released(client):
    """Of a message for which PUBREC has come only PUBREL is sent again [MQTT-4.3.3-6]. Paho forgets
    that it has come when it tries to connect for the second time."""
    reset = client._messages_reconnect_reset_out

    def reset_others():
        messages = client._out_messages.values()
        released = [one for one in messages if one.state == TO_BE_RELEASED]
        reset()
        for one in released:
            one.state = TO_BE_RELEASED

    client._messages_reconnect_reset_out = reset_others


class Client:
    """A client that is always connected to a node, or on its way to one."""

    def __init__(self, world, name, node, clean, version=mqtt.MQTTv311, will=None):
        self.world, self.name, self.node, self.clean = world, name, node, clean
        self.is_over, self.is_up, self.is_moving = False, False, False
        # (time, node, whether it had its session) of each CONNACK; (time) of each end.
        self.ups, self.downs = [], []
        if version == mqtt.MQTTv5:
            self.client = mqtt.Client(name, protocol=version)
        else:
            self.client = mqtt.Client(name, clean_session=clean, protocol=version)
        self.version = version
        if not clean:
            keep_released(self.client)
        if will:
            properties = Properties(PacketTypes.WILLMESSAGE) if will[1] else None
            if properties:
                properties.WillDelayInterval = will[1]
            self.client.will_set(will[0], name, 1, properties=properties)
        self.client.on_connect = self.on_connect
        self.client.on_disconnect = self.on_disconnect
        self.thread = threading.Thread(target=self.run, daemon=True, name=name)

    def start(self):
        self.thread.start()
        return self

    def on_connect(self, _client, _, flags, code, _properties=None):
        if code == 0:
            self.is_up = True
            self.ups.append((now(), self.node, bool(flags["session present"])))
            self.connected(bool(flags["session present"]))

    def on_disconnect(self, *_):
        if self.is_up:
            self.is_up = False
            self.downs.append(now())

    def connected(self, present):
        """It has been let in."""

    def note_cut_short(self):
        """Its session has ended. What it has begun to receive with QoS 2 is forgotten."""

    def work(self):
        """Is called all the time while it is connected."""

    def next_node(self):
        """Where it connects; elsewhere if the node has left and runs no more."""
        if all(node.number != self.node for node in self.world.nodes):
            return self.world.random.choice(self.world.reachable())
        return self.node

    def run(self):
        while not self.is_over:
            try:
                self.node = self.next_node()
                self.once()
            except (OSError, ValueError):
                pass
            self.on_disconnect()
            time.sleep(0.2)

    def once(self):
        """One connection, from its begin to its end."""
        self.is_moving = False
        if self.clean:
            self.note_cut_short()
        address = self.world.hosts[self.node], self.world.port
        if self.version == mqtt.MQTTv5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 0 if self.clean else 600
            self.client.connect(*address, 5, clean_start=self.clean, properties=properties)
        else:
            self.client.connect(*address, 5)
        asked = now()
        while not self.is_over and not self.is_moving:
            if self.client.loop(0.05) != 0:
                return
            if self.is_up:
                self.work()
            elif now() > asked + CONNACK_SECONDS:
                break
        self.close()

    def close(self):
        """Ends its connection without DISCONNECT."""
        found = self.client.socket()
        if found:
            found.close()
        self.client._sock = None

    def end(self):
        self.is_over = True
        self.thread.join(5)


class Publisher(Client):
    """Sends numbers to a topic; each has the time of its sending and of its acknowledgement."""

    def __init__(self, world, name, node, qos, topic, retain=False, wanders=False):
        super().__init__(world, name, node, clean=False)
        self.qos, self.topic, self.retain, self.wanders = qos, topic, retain, wanders
        self.sent, self.acknowledged, self.ambiguous = {}, {}, set()
        self.waiting, self.rate, self.most = {}, world.rate, float("inf")
        self.next_at, self.moves_at = 0, 0
        self.is_quiet = False
        self.client.on_publish = self.on_publish

    def next_node(self):
        if not self.wanders:
            return self.node
        self.moves_at = now() + self.world.random.uniform(1.5, 3)
        return self.world.random.choice(self.world.reachable())

    def connected(self, present):
        if not present:
            # The node knows nothing of what was on its way: it may have come before.
            self.ambiguous |= set(self.waiting.values())

    def on_publish(self, _client, _, identifier):
        number = self.waiting.pop(identifier, None)
        if number is not None:
            self.acknowledged[number] = now()

    def work(self):
        if self.wanders and not self.is_quiet and now() > self.moves_at:
            self.is_moving = True
        is_full = len(self.waiting) >= 5 or len(self.sent) >= self.most
        if self.is_quiet or now() < self.next_at or is_full:
            return
        self.next_at = now() + 1 / self.rate
        number = len(self.sent) + 1
        self.sent[number] = now()
        payload = f"{self.name} {number}"
        sent = self.client.publish(self.topic, payload, self.qos, self.retain)
        if self.qos:
            self.waiting[sent.mid] = number


def origin(message):
    """Who has published a message, and the number."""
    who, _, number = message.payload.decode().partition(" ")
    return who, int(number or 0)


class Subscriber(Client):
    """Writes down what comes: (publisher, number) with the time, in order."""

    def __init__(self, world, name, node, clean, qos, filters, wanders=False):
        super().__init__(world, name, node, clean)
        self.qos, self.filters, self.wanders = qos, filters, wanders
        self.received, self.subscribed = [], []
        # Messages of QoS 2 that had come and were not released when its session ended.
        self.cut_short = set()
        self.moves_at, self.is_quiet = 0, False
        # Whether SUBACK has come in this session.
        self.has_subscribed = False
        self.client.on_message = self.on_message
        self.client.on_subscribe = self.on_subscribe

    def next_node(self):
        if not self.wanders:
            return self.node
        self.moves_at = now() + self.world.random.uniform(1.5, 3)
        return self.world.random.choice(self.world.reachable())

    def connected(self, present):
        self.has_subscribed = present and self.has_subscribed
        if not self.has_subscribed:
            self.client.subscribe([(filter, self.qos) for filter in self.filters])

    def on_subscribe(self, *_):
        self.has_subscribed = True
        self.subscribed.append(now())

    def on_message(self, _client, _, message):
        who, number = origin(message)
        self.received.append((now(), message.topic, who, number, message.qos))

    def note_cut_short(self):
        self.cut_short |= {origin(one) for one in self.client._in_messages.values()}

    def work(self):
        if self.wanders and not self.is_quiet and now() > self.moves_at:
            self.is_moving = True

    def where(self, at):
        """The node that has its session at a time."""
        return next((node for time, node, _ in reversed(self.ups) if time <= at), self.node)

    def covered(self, settle):
        """From when to when it had a session with its subscriptions, without a gap."""
        spans = []
        for number, (up, _, present) in enumerate(self.ups):
            if present and spans:
                spans[-1][1] = float("inf")
            else:
                begin = next((one for one in self.subscribed if one >= up), None)
                if begin is None:
                    continue
                spans.append([begin + settle, float("inf")])
            end = next((one for one in self.downs if one >= up), None)
            lives_on = not self.clean and number + 1 == len(self.ups)
            if end is not None and not lives_on:
                # What was on its way may be lost with the session, if that is.
                spans[-1][1] = end - 2
        return spans
