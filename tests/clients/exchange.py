"""Paho, of either generation, exchanges messages with itself through a broker.

Usage: exchange.py HOST PORT VERSION, with VERSION 3 (3.1), 4 (3.1.1) or 5.
Ends with exit code 0 when everything came as it should.
"""

import queue
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

PATIENCE = 10
COUNT = 20

host, port, version = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


# Paho 1 gives less to its callbacks, and does not say what it is.
IS_SECOND = hasattr(mqtt, "CallbackAPIVersion")
GENERATION = [mqtt.CallbackAPIVersion.VERSION2] if IS_SECOND else []


class Client:
    """A client that waits for what it has asked for."""

    def __init__(self, client_id, kept=False, will=None):
        self.messages = queue.Queue()
        self.answers = queue.Queue()
        arguments = {} if version == 5 else {"clean_session": not kept}
        self.paho = mqtt.Client(*GENERATION, client_id, protocol=version, **arguments)
        self.paho.on_message = lambda _client, _data, message: self.messages.put(message)
        self.paho.on_connect = lambda *arguments: self.answers.put(arguments[2:])
        self.paho.on_subscribe = lambda *arguments: self.answers.put(arguments[2:])
        self.paho.on_unsubscribe = lambda *arguments: self.answers.put(arguments[2:])
        self.paho.on_disconnect = lambda *arguments: self.answers.put(arguments[2:])
        if will:
            self.paho.will_set(*will, qos=1)
        self.connect(kept)

    def connect(self, kept):
        arguments = {}
        if version == 5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = 600 if kept else 0
            arguments = {"clean_start": not kept, "properties": properties}
        self.paho.connect(host, port, **arguments)
        self.paho.loop_start()
        flags, reason = self.answers.get(timeout=PATIENCE)[:2]
        assert reason == 0, f"refused: {reason}"
        self.session_present = flags.session_present if IS_SECOND else flags["session present"]

    def fall_silent(self):
        """Ends the connection without DISCONNECT."""
        self.paho.loop_stop()
        self.paho.socket().close()

    def subscribe(self, topic, qos):
        self.paho.subscribe(topic, qos)
        reasons = self.answers.get(timeout=PATIENCE)[1]
        granted = [getattr(reason, "value", reason) for reason in reasons]
        assert granted == [qos], f"SUBACK {reasons}"

    def unsubscribe(self, topic):
        self.paho.unsubscribe(topic)
        self.answers.get(timeout=PATIENCE)

    def publish(self, topic, payload, qos, **more):
        self.paho.publish(topic, payload, qos, **more).wait_for_publish(PATIENCE)

    def expect(self, topic, payload, qos):
        message = self.messages.get(timeout=PATIENCE)
        got = (message.topic, message.payload, message.qos)
        assert got == (topic, payload.encode(), qos), f"got {got}"
        return message

    def disconnect(self):
        self.paho.disconnect()
        self.answers.get(timeout=PATIENCE)
        self.paho.loop_stop()


publisher = Client("paho publisher")
subscriber = Client("paho subscriber")

for qos in (0, 1, 2):
    topic = f"paho/{qos}/ä"
    subscriber.subscribe(f"paho/{qos}/+", qos)
    for number in range(COUNT):
        publisher.publish(topic, f"message {number}", qos)
    for number in range(COUNT):
        assert not subscriber.expect(topic, f"message {number}", qos).retain
    large = "x" * 200_000
    publisher.publish(topic, large, qos)
    subscriber.expect(topic, large, qos)
    subscriber.unsubscribe(f"paho/{qos}/+")

publisher.publish("paho/kept", "kept", 1, retain=True)
subscriber.subscribe("paho/kept", 1)
assert subscriber.expect("paho/kept", "kept", 1).retain
publisher.publish("paho/kept", "", 1, retain=True)
subscriber.expect("paho/kept", "", 1)

away = Client("paho away", kept=True)
away.subscribe("paho/away", 2)
away.disconnect()
for qos in (1, 2):
    publisher.publish("paho/away", "while away", qos)
away = Client("paho away", kept=True)
assert away.session_present or version == 3
for qos in (1, 2):
    away.expect("paho/away", "while away", qos)

subscriber.subscribe("paho/will", 1)
Client("paho mortal", will=("paho/will", "gone")).fall_silent()
subscriber.expect("paho/will", "gone", 1)

members = [Client(f"paho member {number}") for number in (1, 2)]
for member in members:
    member.subscribe("$share/paho/paho/shared", 1)
for number in range(COUNT):
    publisher.publish("paho/shared", f"message {number}", 1)
shared = [
    member.messages.get(timeout=PATIENCE).payload
    for member in members
    for _ in range(COUNT // 2)
]
assert sorted(shared) == sorted(f"message {number}".encode() for number in range(COUNT))

if version == 5:
    subscriber.subscribe("paho/properties", 1)
    properties = Properties(PacketTypes.PUBLISH)
    properties.ContentType = "text/plain"
    properties.ResponseTopic = "paho/answer"
    properties.CorrelationData = b"\x00\xff"
    properties.UserProperty = [("one", "1"), ("two", "2"), ("one", "3")]
    publisher.publish("paho/properties", "with properties", 1, properties=properties)
    got = subscriber.expect("paho/properties", "with properties", 1).properties
    assert got.ContentType == "text/plain"
    assert got.ResponseTopic == "paho/answer"
    assert got.CorrelationData == b"\x00\xff"
    assert got.UserProperty == [("one", "1"), ("two", "2"), ("one", "3")], got.UserProperty

assert subscriber.messages.empty()
for client in (publisher, subscriber, away, *members):
    client.disconnect()
